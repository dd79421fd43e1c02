//! What there is in the store, and what it takes.
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsutil::Context;

/// An image in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its names, sorted; none if they moved on to other images.
    pub names: Vec<String>,
    /// What it is for, as `OS/ARCHITECTURE`; empty where the image is damaged or does not say.
    pub platform: String,
    /// When it was built, as its config says.
    pub created: Option<String>,
    /// When it was pulled under its newest name, in seconds since 1970.
    pub pulled: Option<u64>,
    /// Bytes on the disk, layers shared with other images included.
    pub size: u64,
    /// Whether its files in the store cannot be used.
    pub is_damaged: bool,
}

/// What the store takes on the disk, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// How many images there are.
    pub images: usize,
    /// Their manifests and configs.
    pub image_bytes: u64,
    /// How many layers there are.
    pub layers: usize,
    /// Their data and indexes.
    pub layer_bytes: u64,
    /// How many roots there are.
    pub roots: usize,
    /// Their metadata.
    pub root_bytes: u64,
    /// Layers and roots that no image needs.
    pub unused_bytes: u64,
    /// Work in progress of all processes.
    pub tmp_bytes: u64,
}

impl Store {
    /// All images, the newest pull first.
    pub fn list(&self) -> Result<Vec<ImageSummary>, StoreError> {
        let names = self.names()?;
        let mut list = Vec::new();
        for digest in self.image_digests()? {
            let own = names.iter().filter(|(_, entry)| entry.image == digest);
            let (own, pulled): (Vec<_>, Vec<_>) = own
                .map(|(name, entry)| (name.clone(), entry.pulled))
                .unzip();
            let mut summary = self.summary(digest);
            (summary.names, summary.pulled) = (own, pulled.into_iter().max());
            list.push(summary);
        }
        list.sort_by_key(|image| std::cmp::Reverse(image.pulled));
        Ok(list)
    }

    fn summary(&self, digest: Digest) -> ImageSummary {
        let size = disk_usage(&self.image_dir(&digest));
        let unknown = ImageSummary {
            digest,
            names: Vec::new(),
            platform: String::new(),
            created: None,
            pulled: None,
            size,
            is_damaged: true,
        };
        let Ok((config, record)) = self.read_image(&digest) else {
            return unknown;
        };
        let platform = config
            .platform()
            .map(|platform| platform.to_string())
            .unwrap_or_default();
        let layers = self.layers_of(&record);
        // An image may have a layer twice; the store has it once.
        let sizes: BTreeMap<Digest, u64> = layers
            .iter()
            .flatten()
            .map(|layer| (layer.diff_id, layer.disk_usage().unwrap_or(0)))
            .collect();
        ImageSummary {
            platform,
            created: config.created,
            size: size + sizes.values().sum::<u64>(),
            is_damaged: layers.is_err(),
            ..unknown
        }
    }

    /// What the store takes on the disk.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let needed = self.needed()?;
        let mut usage = Usage {
            tmp_bytes: disk_usage(&self.home.join("tmp")),
            ..Usage::default()
        };
        for digest in self.image_digests()? {
            usage.images += 1;
            usage.image_bytes += disk_usage(&self.image_dir(&digest));
        }
        for layer in self.layers.list()? {
            let bytes = layer.disk_usage().unwrap_or(0);
            usage.layers += 1;
            usage.layer_bytes += bytes;
            if !needed.layers.contains(&layer.diff_id) {
                usage.unused_bytes += bytes;
            }
        }
        for root in self.roots.list()? {
            let bytes = disk_usage(&root.path);
            usage.roots += 1;
            usage.root_bytes += bytes;
            if !needed.roots.contains(&root.key) {
                usage.unused_bytes += bytes;
            }
        }
        Ok(usage)
    }
}

/// Bytes a file or directory takes. What vanishes meanwhile takes nothing.
pub(super) fn disk_usage(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path).context("stat", path) else {
        return 0;
    };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| disk_usage(&entry.path())).sum::<u64>()
}
