//! What `docker save` writes.
//!
//! Both generations have a `manifest.json` that names the config and the layers by their path: the
//! old one as `HEX.json` and `ID/layer.tar`, the new one (from Docker 25) as `blobs/sha256/HEX` of an
//! OCI layout. There is no manifest with digests, so one is made up from what the config states.
//! It depends on nothing but the image.
use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use super::files::Files;
use super::{Source, SourceError};
use crate::blob::{self, BlobError, BlobReader, Identity};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::manifest::{
    CONFIG_LIMIT, Descriptor, Document, Fetched, MANIFEST_LIMIT, ManifestError, OCI_CONFIG,
    OCI_LAYER, OCI_MANIFEST,
};
use crate::reference::{Pick, RegistryRef};

/// An archive of `docker save` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerArchiveError {
    /// No `manifest.json`.
    #[error(
        "{path} was not written by `docker save` of Docker 1.10 or later: it has no manifest.json{hint}"
    )]
    NotAnArchive {
        /// The archive.
        path: PathBuf,
        /// What it might be instead.
        hint: &'static str,
    },
    /// `manifest.json` is not as it should be.
    #[error("the manifest.json of {path} cannot be read")]
    Json {
        /// The archive.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// The archive is empty.
    #[error("the archive {path} holds no image")]
    Empty {
        /// The archive.
        path: PathBuf,
    },
    /// No image of this name.
    #[error("the archive {path} holds no image {wanted}; it has {available}")]
    NoSuchImage {
        /// The archive.
        path: PathBuf,
        /// The name or digest.
        wanted: String,
        /// The names there are.
        available: String,
    },
    /// Several images, and nothing says which.
    #[error("the archive {path} holds several images: add `:NAME:TAG`, one of {available}")]
    Several {
        /// The archive.
        path: PathBuf,
        /// The names there are.
        available: String,
    },
    /// A file is named but not there.
    #[error("the archive {path} lacks {member}")]
    Missing {
        /// The archive.
        path: PathBuf,
        /// The member.
        member: String,
    },
    /// The config does not go with the layers.
    #[error("the archive {path} has {layers} layers for an image whose config states {diff_ids}")]
    LayerCount {
        /// The archive.
        path: PathBuf,
        /// By `manifest.json`.
        layers: usize,
        /// By the config.
        diff_ids: usize,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// One image of an archive.
pub(super) struct DockerArchive<F> {
    files: F,
    config: Vec<u8>,
    manifest: Vec<u8>,
    /// The member behind each layer, and how it can be told to be the right one.
    layers: HashMap<Digest, (String, Identity)>,
}

impl<F: Files> DockerArchive<F> {
    pub(super) fn new(files: F, pick: &Pick) -> Result<Self, SourceError> {
        let path = files.place().to_owned();
        let Some(index) = files.read("manifest.json", MANIFEST_LIMIT)? else {
            let hint = match files.open("index.json")? {
                Some(_) => " (it looks like an OCI layout: use oci-archive:)",
                None => "",
            };
            return Err(DockerArchiveError::NotAnArchive { path, hint }.into());
        };
        let images: Vec<RawImage> =
            serde_json::from_slice(&index).map_err(|source| DockerArchiveError::Json {
                path: path.clone(),
                source,
            })?;
        let image = picked(images, pick, path)?;
        Self::of(files, image)
    }

    fn of(files: F, image: RawImage) -> Result<Self, SourceError> {
        let path = files.place().to_owned();
        let missing = |member: &str| DockerArchiveError::Missing {
            path: path.clone(),
            member: member.to_owned(),
        };
        let config = files
            .read(&image.config, CONFIG_LIMIT)?
            .ok_or_else(|| missing(&image.config))?;
        if let Some(digest) = digest_in_name(&image.config) {
            let found = Digest::of(&config);
            if found != digest {
                return Err(BlobError::Digest { digest, found }.into());
            }
        }
        let diff_ids = ImageConfig::parse(&config)?.diff_ids;
        let members = image.layers.unwrap_or_default();
        if members.len() != diff_ids.len() {
            let (layers, diff_ids) = (members.len(), diff_ids.len());
            return Err(DockerArchiveError::LayerCount {
                path,
                layers,
                diff_ids,
            }
            .into());
        }
        let mut layers = HashMap::new();
        let mut entries = Vec::new();
        for (member, diff_id) in members.into_iter().zip(diff_ids) {
            let len = files.open(&member)?.ok_or_else(|| missing(&member))?.len;
            // Old archives name a layer by an id of no meaning, and may hold it compressed or not.
            let (digest, identity) = match digest_in_name(&member) {
                Some(digest) if member.starts_with("blobs/sha256/") => (digest, Identity::Blob),
                _ => (diff_id, Identity::Content),
            };
            entries.push(json!({"mediaType": OCI_LAYER, "digest": digest, "size": len}));
            layers.insert(digest, (member, identity));
        }
        let config_entry =
            json!({"mediaType": OCI_CONFIG, "digest": Digest::of(&config), "size": config.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config_entry, "layers": entries});
        Ok(Self {
            files,
            config,
            manifest: manifest.to_string().into_bytes(),
            layers,
        })
    }
}

/// The digest a file's name states: `HEX.json`, `blobs/sha256/HEX`.
fn digest_in_name(name: &str) -> Option<Digest> {
    let file = name.rsplit('/').next()?;
    Digest::from_hex(file.strip_suffix(".json").unwrap_or(file))
}

fn picked(
    images: Vec<RawImage>,
    pick: &Pick,
    path: PathBuf,
) -> Result<RawImage, DockerArchiveError> {
    if images.is_empty() {
        return Err(DockerArchiveError::Empty { path });
    }
    let available = available(&images);
    let count = images.len();
    let matches = |image: &RawImage| match pick {
        Pick::Default if count == 1 => true,
        Pick::Default => tags(image).any(|tag| tag.ends_with(":latest")),
        Pick::Name(name) => tags(image).any(|tag| is_same(tag, name)),
        Pick::Digest(digest) => digest_in_name(&image.config).as_ref() == Some(digest),
    };
    let mut matching = images.into_iter().filter(matches);
    match (matching.next(), matching.next(), pick) {
        (Some(image), None, _) | (Some(image), Some(_), Pick::Name(_) | Pick::Digest(_)) => {
            Ok(image)
        }
        (_, _, Pick::Default) => Err(DockerArchiveError::Several { path, available }),
        (None, _, pick) => Err(DockerArchiveError::NoSuchImage {
            path,
            wanted: pick.to_string(),
            available,
        }),
    }
}

fn tags(image: &RawImage) -> impl Iterator<Item = &str> {
    image.repo_tags.iter().flatten().map(String::as_str)
}

/// Whether two names mean the same image: archives hold short names and long ones.
fn is_same(tag: &str, name: &str) -> bool {
    let canonical = |text: &str| text.parse::<RegistryRef>().ok();
    tag == name || matches!((canonical(tag), canonical(name)), (Some(a), Some(b)) if a == b)
}

fn available(images: &[RawImage]) -> String {
    let names: Vec<&str> = images.iter().flat_map(tags).collect();
    if names.is_empty() {
        "only images without a name (name one by @sha256:…)".to_owned()
    } else {
        names.join(", ")
    }
}

impl<F: Files> Source for DockerArchive<F> {
    fn root(&self) -> Result<Fetched, SourceError> {
        let document = Document::parse(&self.manifest, Some(OCI_MANIFEST))?;
        Ok(Fetched {
            digest: Digest::of(&self.manifest),
            bytes: self.manifest.clone(),
            document,
        })
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched, SourceError> {
        // Only an index leads to further documents, and there is none.
        Err(ManifestError::Unknown {
            media_type: descriptor.media_type.clone(),
        }
        .into())
    }

    fn small_blob(&self, descriptor: &Descriptor, _limit: u64) -> Result<Vec<u8>, SourceError> {
        Ok(blob::check(self.config.clone(), descriptor)?)
    }

    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<BlobReader<'a>, SourceError> {
        let lost = |member: String| DockerArchiveError::Missing {
            path: self.files.place().to_owned(),
            member,
        };
        let (member, identity) = self
            .layers
            .get(&descriptor.digest)
            .ok_or_else(|| lost(descriptor.digest.to_string()))?;
        let opened = self
            .files
            .open(member)?
            .ok_or_else(|| lost(member.clone()))?;
        Ok(BlobReader {
            stream: opened.reader,
            identity: *identity,
        })
    }
}
