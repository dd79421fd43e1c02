//! Manifests and indexes, in the OCI format and in Docker's schema 2.
//!
//! The two formats differ in media types only, so there is one [`Manifest`] here. Registries and
//! layouts are lax about media types, so the shape of the document decides what it is; a document
//! that could be read as both is refused, or two tools would run two different images from one digest.
mod raw;
mod select;

pub(crate) use select::{Documents, Fetched, Selected, select};

use crate::digest::Digest;
use crate::platform::Platform;

/// The largest manifest or index that is read.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// The largest image config that is read.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// More layers than any builder makes (Docker stops at 127).
const LAYER_LIMIT: usize = 512;
/// More platforms than any index has.
const ENTRY_LIMIT: usize = 4096;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const UNTYPED: &str = "application/octet-stream";

/// A blob named by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// For an entry of an index: the platform it is for, where the index says so.
    pub platform: Option<Platform>,
    /// For an entry of a layout's index: its tag, and its full name where the writer noted one.
    pub names: Vec<String>,
}

/// The manifest of one image: its config and its layers, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The image config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// What a digest or a tag leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images, or of further indexes.
    Index(Vec<Descriptor>),
}

/// Why a manifest or an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A proxy or a login page answered instead of the registry, mostly.
    #[error("expected a manifest, got a web page (HTML)")]
    Html,
    /// Not JSON, or not the JSON of a manifest.
    #[error("the manifest cannot be read")]
    Json(#[source] serde_json::Error),
    /// The format of Docker before 1.10, without content addresses.
    #[error(
        "the image is in Docker's schema 1 format, which has no verifiable layers; push it again with a current tool"
    )]
    Schema1,
    /// Fields of a manifest and of an index in one document.
    #[error("the document is a manifest and an index at once")]
    Ambiguous,
    /// Neither a manifest nor an index.
    #[error("the document is neither an image manifest nor an index (media type {media_type:?})")]
    Unknown {
        /// The media type it claims.
        media_type: String,
    },
    /// Something else that is kept in registries: a chart, a signature, a module.
    #[error("this is not a container image but an artifact of type {media_type:?}")]
    Artifact {
        /// What it says it is.
        media_type: String,
    },
    /// A digest in the document is not one we can check.
    #[error("the manifest names a blob by {digest:?}, which is not a sha256 digest")]
    Digest {
        /// The text found.
        digest: String,
    },
    /// A layer in a format we cannot read.
    #[error("layer {digest} is of type {media_type:?}, which is not supported")]
    LayerType {
        /// The layer.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Too many entries.
    #[error("the manifest lists {count} {what}, the limit is {limit}")]
    TooMany {
        /// Layers or platforms.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The most allowed.
        limit: usize,
    },
    /// Indexes that lead to indexes without end.
    #[error("more than {limit} documents had to be read to find the image for this platform")]
    TooDeep {
        /// The most that are read.
        limit: usize,
    },
    /// The image exists, but not for this machine.
    #[error("the image has no variant for {wanted}; it is there for {available}")]
    Platform {
        /// What was looked for.
        wanted: Platform,
        /// What there is, separated by commas.
        available: String,
    },
}

impl Document {
    /// Reads a document. `declared` is the media type it came with, if any.
    pub fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Self, ManifestError> {
        raw::parse(bytes, declared.unwrap_or_default())
    }
}

impl Manifest {
    /// Refuses what is stored like an image but is none, and layers nobody could read.
    fn check(self) -> Result<Self, ManifestError> {
        if self.layers.len() > LAYER_LIMIT {
            return Err(ManifestError::TooMany {
                what: "layers",
                count: self.layers.len(),
                limit: LAYER_LIMIT,
            });
        }
        if !matches!(
            self.config.media_type.as_str(),
            OCI_CONFIG | DOCKER_CONFIG | UNTYPED | ""
        ) {
            return Err(ManifestError::Artifact {
                media_type: self.config.media_type,
            });
        }
        match self
            .layers
            .iter()
            .find(|layer| !is_layer_type(&layer.media_type))
        {
            None => Ok(self),
            Some(layer) => Err(ManifestError::LayerType {
                digest: layer.digest,
                media_type: layer.media_type.clone(),
            }),
        }
    }
}

/// Tar archives, plain or in a compression we read. Which one is decided by the blob's first
/// bytes, because builders have mislabeled them; the digests decide whether it is the right blob.
fn is_layer_type(media_type: &str) -> bool {
    let tar = media_type
        .strip_prefix("application/vnd.oci.image.layer.v1.")
        .or_else(|| media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1."))
        .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.diff."))
        .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff."));
    // The separator is `+` in OCI's types and `.` in Docker's.
    matches!(
        tar,
        Some("tar" | "tar+gzip" | "tar.gzip" | "tar+zstd" | "tar.zstd")
    )
}

#[cfg(test)]
mod tests;
