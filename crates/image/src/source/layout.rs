//! OCI image layouts: a directory (or a tar file of one) with `index.json` and `blobs/sha256/`
//! ([image layout specification](https://github.com/opencontainers/image-spec/blob/main/image-layout.md)).
use std::path::PathBuf;

use serde_json::Value;

use super::files::Files;
use super::{Source, SourceError};
use crate::blob::{self, BlobReader, Identity};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, Fetched, MANIFEST_LIMIT};
use crate::reference::Pick;

/// A layout that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// No `index.json`.
    #[error("{path} is not an OCI image layout: it has no index.json{hint}")]
    NotALayout {
        /// The directory or archive.
        path: PathBuf,
        /// What it might be instead.
        hint: &'static str,
    },
    /// A layout of a version to come.
    #[error("{path} is an OCI image layout of version {version:?}; only 1.x is known")]
    Version {
        /// The directory or archive.
        path: PathBuf,
        /// What `oci-layout` says.
        version: String,
    },
    /// `index.json` lists nothing.
    #[error("the layout {path} holds no image")]
    Empty {
        /// The directory or archive.
        path: PathBuf,
    },
    /// No image of this name.
    #[error("the layout {path} holds no image {wanted}; it has {available}")]
    NoSuchImage {
        /// The directory or archive.
        path: PathBuf,
        /// The tag or digest.
        wanted: String,
        /// The tags there are.
        available: String,
    },
    /// Several images, and nothing says which.
    #[error("the layout {path} holds several images: add `:TAG`, one of {available}")]
    Several {
        /// The directory or archive.
        path: PathBuf,
        /// The tags there are.
        available: String,
    },
    /// A blob is listed but not there.
    #[error("the layout {path} lacks blob {digest}")]
    MissingBlob {
        /// The directory or archive.
        path: PathBuf,
        /// The blob.
        digest: Digest,
    },
}

/// One image, or one index, of a layout.
pub(super) struct Layout<F> {
    files: F,
    pick: Pick,
}

impl<F: Files> Layout<F> {
    pub(super) fn new(files: F, pick: Pick) -> Result<Self, SourceError> {
        if let Some(bytes) = files.read("oci-layout", MANIFEST_LIMIT)? {
            let version = serde_json::from_slice::<Value>(&bytes)
                .ok()
                .and_then(|layout| {
                    layout
                        .get("imageLayoutVersion")?
                        .as_str()
                        .map(str::to_owned)
                })
                .unwrap_or_default();
            if !version.starts_with("1.") {
                return Err(LayoutError::Version {
                    path: files.place().to_owned(),
                    version,
                }
                .into());
            }
        }
        Ok(Self { files, pick })
    }

    fn path(&self) -> PathBuf {
        self.files.place().to_owned()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<BlobReader<'_>, SourceError> {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        let missing = || LayoutError::MissingBlob {
            path: self.path(),
            digest: descriptor.digest,
        };
        let opened = self.files.open(&name)?.ok_or_else(missing)?;
        Ok(BlobReader {
            stream: opened.reader,
            identity: Identity::Blob,
        })
    }

    /// The entries of `index.json` that are meant. Several are one image for several platforms.
    fn picked(&self, entries: Vec<Descriptor>) -> Result<Vec<Descriptor>, LayoutError> {
        if entries.is_empty() {
            return Err(LayoutError::Empty { path: self.path() });
        }
        let available = available(&entries);
        let named = |name: &str| -> Vec<Descriptor> {
            entries
                .iter()
                .filter(|entry| entry.names.iter().any(|own| own == name))
                .cloned()
                .collect()
        };
        let picked = match &self.pick {
            Pick::Name(name) => named(name),
            Pick::Digest(digest) => entries
                .iter()
                .filter(|entry| entry.digest == *digest)
                .take(1)
                .cloned()
                .collect(),
            Pick::Default if entries.len() == 1 => entries,
            Pick::Default => {
                let latest = named("latest");
                let is_one_image = entries
                    .iter()
                    .all(|entry| entry.names.is_empty() && entry.platform.is_some());
                match (latest.is_empty(), is_one_image) {
                    (false, _) => latest,
                    (true, true) => entries,
                    (true, false) => {
                        return Err(LayoutError::Several {
                            path: self.path(),
                            available,
                        });
                    }
                }
            }
        };
        if picked.is_empty() {
            let wanted = self.pick.to_string();
            return Err(LayoutError::NoSuchImage {
                path: self.path(),
                wanted,
                available,
            });
        }
        Ok(picked)
    }
}

fn available(entries: &[Descriptor]) -> String {
    let mut tags: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry.names.first().map(String::as_str))
        .collect();
    tags.sort_unstable();
    tags.dedup();
    match (
        tags.is_empty(),
        entries.iter().any(|entry| entry.names.is_empty()),
    ) {
        (true, _) => "only untagged images (name one by @sha256:…)".to_owned(),
        (false, false) => tags.join(", "),
        (false, true) => format!("{} and untagged images", tags.join(", ")),
    }
}

impl<F: Files> Source for Layout<F> {
    fn root(&self) -> Result<Fetched, SourceError> {
        let not_a_layout = || LayoutError::NotALayout {
            path: self.path(),
            hint: match self.files.open("manifest.json") {
                _ if !self.files.place().exists() => " (there is nothing of that name)",
                Ok(Some(_)) => " (it looks like `docker save` wrote it: use docker-archive:)",
                _ => "",
            },
        };
        let bytes = self
            .files
            .read("index.json", MANIFEST_LIMIT)?
            .ok_or_else(not_a_layout)?;
        let Document::Index(entries) = Document::parse(&bytes, None)? else {
            return Err(not_a_layout().into());
        };
        let picked = self.picked(entries)?;
        match picked.as_slice() {
            [only] => self.document(only),
            // A layout's own index has no identity: the names in it are not part of the image.
            _ => Ok(Fetched {
                digest: Digest::of(&bytes),
                bytes,
                document: Document::Index(picked),
            }),
        }
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched, SourceError> {
        let bytes = blob::read_small(self.open(descriptor)?, descriptor, MANIFEST_LIMIT)?;
        let document = Document::parse(&bytes, Some(&descriptor.media_type))?;
        Ok(Fetched {
            digest: descriptor.digest,
            bytes,
            document,
        })
    }

    fn small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError> {
        Ok(blob::read_small(self.open(descriptor)?, descriptor, limit)?)
    }

    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<BlobReader<'a>, SourceError> {
        self.open(descriptor)
    }
}
