//! Things in registries that are no images: one blob, and a manifest that says what it is
//! ([image specification, "Guidelines for Artifact Usage"](https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md)).
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};

use serde::Deserialize;
use serde_json::json;

use crate::cancel::{Cancel, Patience};
use crate::digest::{Digest, Hasher, VerifyingReader};
use crate::manifest::{Descriptor, OCI_MANIFEST};
use crate::reference::RegistryRef;
use crate::registry::{Payload, Registry, RegistryError, RegistryOptions};

/// The config of what needs none, and its whole content (the same guidelines).
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// A kind of artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactKind {
    /// What the manifest says it is: a media type.
    pub artifact_type: &'static str,
    /// The media type of its one blob.
    pub blob_type: &'static str,
}

/// Why an artifact did not get to a registry, or from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The content cannot be read here.
    #[error("cannot read what is to be pushed")]
    Content(#[source] io::Error),
    /// Something else has that name.
    #[error("{reference} is no {wanted}: it is {found}")]
    AnotherKind {
        /// What was asked for.
        reference: String,
        /// The kind that was expected.
        wanted: &'static str,
        /// What it says it is.
        found: String,
    },
    /// The manifest is not one of an artifact with one blob.
    #[error("the manifest of {reference} cannot be used: {reason}")]
    Manifest {
        /// What was asked for.
        reference: String,
        /// Why.
        reason: String,
    },
}

/// A way to one name in a registry.
#[derive(Debug)]
pub struct Artifacts<'a> {
    reference: &'a RegistryRef,
    options: &'a RegistryOptions,
    patience: Patience,
}

impl<'a> Artifacts<'a> {
    /// Nothing is sent yet. `cancel` ends whatever is under way.
    pub fn new(reference: &'a RegistryRef, options: &'a RegistryOptions, cancel: &Cancel) -> Self {
        Self {
            reference,
            options,
            patience: Patience {
                cancel: cancel.clone(),
                deadline: None,
            },
        }
    }

    /// Puts all of `content` there, and gives the digest of the manifest. A blob that is there is not sent again.
    pub fn push(
        &self,
        kind: ArtifactKind,
        mut content: File,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Digest, ArtifactError> {
        let (digest, size) = measure(&mut content).map_err(ArtifactError::Content)?;
        let registry = Registry::new(self.reference, self.options, &self.patience)?;
        registry.put_blob(&digest, &Payload::file(content))?;
        registry.put_blob(
            &Digest::of(EMPTY),
            &Payload::bytes(EMPTY.to_vec(), EMPTY_TYPE),
        )?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind.artifact_type,
            "config": {
                "mediaType": EMPTY_TYPE,
                "digest": Digest::of(EMPTY).to_string(),
                "size": EMPTY.len(),
            },
            "layers": [{
                "mediaType": kind.blob_type,
                "digest": digest.to_string(),
                "size": size,
            }],
            "annotations": annotations,
        });
        Ok(registry.put_manifest(manifest.to_string().into_bytes(), OCI_MANIFEST)?)
    }

    /// Shows `consume` the blob of what has that name. The last read fails if it was not all of that blob.
    pub fn pull<T, E: From<ArtifactError>>(
        &self,
        kind: ArtifactKind,
        consume: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        let registry = Registry::new(self.reference, self.options, &self.patience)
            .map_err(ArtifactError::from)?;
        let document = registry.root_document().map_err(ArtifactError::from)?;
        let blob = self.blob(kind, &document.bytes)?;
        let digest = blob.digest;
        consume(&mut VerifyingReader::new(registry.blob(&blob), digest))
    }

    fn blob(&self, kind: ArtifactKind, manifest: &[u8]) -> Result<Descriptor, ArtifactError> {
        let reference = || self.reference.familiar();
        let unusable = |reason: String| ArtifactError::Manifest {
            reference: reference(),
            reason,
        };
        let manifest: RawManifest =
            serde_json::from_slice(manifest).map_err(|error| unusable(error.to_string()))?;
        let found = manifest
            .artifact_type
            .or_else(|| Some(manifest.config?.media_type))
            .or(manifest.media_type)
            .unwrap_or_else(|| "of no kind".into());
        if found != kind.artifact_type {
            return Err(ArtifactError::AnotherKind {
                reference: reference(),
                wanted: kind.artifact_type,
                found: found
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(100)
                    .collect(),
            });
        }
        match <[RawDescriptor; 1]>::try_from(manifest.layers) {
            Ok([blob]) if blob.media_type == kind.blob_type => Ok(Descriptor {
                media_type: blob.media_type,
                digest: Digest::parse(&blob.digest).map_err(|error| unusable(error.to_string()))?,
                size: blob.size,
                platform: None,
                names: Vec::new(),
            }),
            Ok(_) => Err(unusable("its blob has another media type".into())),
            Err(blobs) => Err(unusable(format!("it has {} blobs, not one", blobs.len()))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawDescriptor>,
    #[serde(default)]
    layers: Vec<RawDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// Digest and length of a file.
fn measure(file: &mut File) -> io::Result<(Digest, u64)> {
    file.rewind()?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), size)),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}
