//! One image in the store: its manifest, its config, and what its root is made of.
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::Corruption;
use super::in_use::{self, InUse};
use super::{Store, StoreError, StoredImage};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::fsutil::{self, Context, FsError, Scratch};
use crate::layer::Layer;
use crate::manifest::{Document, ManifestError};
use crate::reference::IdPrefix;
use crate::root::RootImage;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const ROOT: &str = "root.json";
const SHOWN_CANDIDATES: usize = 4;

/// An image about to be published. Its layers are in the store already.
pub(crate) struct NewImage<'a> {
    pub(crate) digest: Digest,
    pub(crate) manifest: &'a [u8],
    pub(crate) config: &'a [u8],
    pub(crate) layers: &'a [Layer],
}

/// What an image's root is made of. Everything in it follows from the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootRecord {
    /// The layers, bottom first.
    pub(super) layers: Vec<Digest>,
    /// The root's name in the store.
    pub(super) key: Digest,
    /// The digest of the root's metadata.
    pub(super) metadata: Digest,
}

impl RootRecord {
    fn of(layers: &[Layer], root: &RootImage) -> Self {
        Self {
            layers: layers.iter().map(|layer| layer.diff_id).collect(),
            key: root.key,
            metadata: root.digest,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("digests are plain JSON");
        bytes.push(b'\n');
        bytes
    }
}

impl Store {
    /// Whether an image of this digest is there, damaged or not.
    pub(crate) fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        let dir = self.image_dir(digest);
        Ok(dir.try_exists().context("find", &dir)?)
    }

    /// All images, damaged ones too.
    pub(super) fn image_digests(&self) -> Result<Vec<Digest>, StoreError> {
        let dir = self.images_dir();
        let mut digests = Vec::new();
        for entry in std::fs::read_dir(&dir).context("list", &dir)? {
            let name = entry.context("list", &dir)?.file_name();
            digests.extend(name.to_str().and_then(Digest::from_hex));
        }
        digests.sort_unstable();
        Ok(digests)
    }

    pub(super) fn by_prefix(&self, prefix: &IdPrefix) -> Result<Option<Digest>, StoreError> {
        let mut found = self.image_digests()?;
        found.retain(|digest| digest.hex().starts_with(prefix.hex()));
        match found.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(*only)),
            _ => {
                found.truncate(SHOWN_CANDIDATES);
                Err(StoreError::Ambiguous {
                    prefix: prefix.hex().to_owned(),
                    found,
                })
            }
        }
    }

    /// Opens an image for use. `None` if it is gone.
    pub(crate) fn load(
        &self,
        digest: &Digest,
        name: Option<String>,
    ) -> Result<Option<StoredImage>, StoreError> {
        let Some(in_use) = self.use_image(digest)? else {
            return Ok(None);
        };
        let damaged = |source| StoreError::Damaged {
            digest: *digest,
            source: Box::new(source),
        };
        let (config, record) = self.read_image(digest).map_err(damaged)?;
        let root = self.root_of(&record).map_err(damaged)?;
        Ok(Some(StoredImage {
            digest: *digest,
            name,
            config,
            root,
            in_use,
        }))
    }

    fn use_image(&self, digest: &Digest) -> Result<Option<InUse>, StoreError> {
        let dir = self.image_dir(digest);
        if let Some(in_use) = InUse::share(&dir)? {
            return Ok(Some(in_use));
        }
        if !self.has(digest)? {
            return Ok(None);
        }
        // Removed and pulled again in between, or a directory that we did not publish like this.
        match InUse::share(&dir)? {
            Some(in_use) => Ok(Some(in_use)),
            None => {
                let source = Box::new(Corruption::Incomplete {
                    file: dir.join(in_use::FILE),
                });
                Err(StoreError::Damaged {
                    digest: *digest,
                    source,
                })
            }
        }
    }

    /// Reads and checks the small files of an image.
    pub(super) fn read_image(
        &self,
        digest: &Digest,
    ) -> Result<(ImageConfig, RootRecord), Corruption> {
        let dir = self.image_dir(digest);
        let manifest = read_checked(&dir.join(MANIFEST), digest)?;
        let Document::Manifest(manifest) = Document::parse(&manifest, None)? else {
            return Err(ManifestError::Unknown {
                media_type: "of an index".to_owned(),
            }
            .into());
        };
        let config =
            ImageConfig::parse(&read_checked(&dir.join(CONFIG), &manifest.config.digest)?)?;
        let file = dir.join(ROOT);
        let bytes = std::fs::read(&file).context("read", &file)?;
        match serde_json::from_slice::<RootRecord>(&bytes) {
            Ok(record) if record.layers == config.diff_ids && record.bytes() == bytes => {
                Ok((config, record))
            }
            _ => Err(Corruption::Root { file }),
        }
    }

    pub(super) fn layers_of(&self, record: &RootRecord) -> Result<Vec<Layer>, Corruption> {
        let layer = |diff_id: &Digest| {
            self.layers
                .get(diff_id)?
                .ok_or(Corruption::LayerMissing { diff_id: *diff_id })
        };
        record.layers.iter().map(layer).collect()
    }

    fn root_of(&self, record: &RootRecord) -> Result<RootImage, Corruption> {
        // Finds the root by its layers; composes it anew if it was lost, which gives the same bytes.
        let root = self.roots.compose(&self.layers_of(record)?)?;
        if root.key == record.key && root.digest == record.metadata {
            Ok(root)
        } else {
            Err(Corruption::Digest {
                file: root
                    .pieces
                    .first()
                    .map(|piece| piece.path.clone())
                    .unwrap_or_default(),
                expected: record.metadata,
                found: root.digest,
            })
        }
    }

    /// Composes the root of an image whose layers are there, and publishes the image.
    pub(crate) fn publish(&self, image: &NewImage<'_>) -> Result<(), StoreError> {
        let root = self.roots.compose(image.layers)?;
        let scratch = Scratch::create(&self.home)?;
        let record = RootRecord::of(image.layers, &root).bytes();
        for (name, bytes) in [
            (MANIFEST, image.manifest),
            (CONFIG, image.config),
            (ROOT, &record),
            (in_use::FILE, b""),
        ] {
            let path = scratch.path().join(name);
            let mut file = fsutil::create_private_file(&path)?;
            file.write_all(bytes).context("write", &path)?;
            file.sync_all().context("sync", &path)?;
        }
        scratch.publish(&self.image_dir(&image.digest))?;
        Ok(())
    }

    /// Takes a damaged image's own files away, so that it can be published anew.
    pub(crate) fn discard_image(&self, digest: &Digest) -> Result<(), FsError> {
        fsutil::discard(&self.home, &self.image_dir(digest))?;
        Ok(())
    }
}

fn read_checked(path: &Path, expected: &Digest) -> Result<Vec<u8>, Corruption> {
    let bytes = std::fs::read(path).context("read", path)?;
    let found = Digest::of(&bytes);
    if found == *expected {
        Ok(bytes)
    } else {
        Err(Corruption::Digest {
            file: path.to_owned(),
            expected: *expected,
            found,
        })
    }
}
