//! The layers on disk, one directory each, shared by all images and all processes.

use super::{LayerError, Limits};
use crate::digest::Digest;
use crate::fsutil::{self, Context};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The stored layers below one home directory.
#[derive(Debug, Clone)]
pub struct LayerStore {
    home: PathBuf,
}

/// A layer that is in the store, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the uncompressed archive, the layer's name.
    pub diff_id: Digest,
    pub(crate) directory: PathBuf,
    pub(crate) data_len: u64,
}

impl Layer {
    /// The contents of all regular files.
    pub fn data_path(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The index of all entries.
    pub fn index_path(&self) -> PathBuf {
        self.directory.join("index")
    }

    /// Length of the data with its holes, a multiple of [`super::BLOCK_SIZE`].
    pub const fn data_len(&self) -> u64 {
        self.data_len
    }

    /// Bytes this layer takes on the disk.
    pub fn disk_usage(&self) -> Result<u64, LayerError> {
        let allocated = |path: &Path| -> Result<u64, LayerError> { Ok(path.metadata().context("stat", path)?.blocks() * 512) };
        Ok(allocated(&self.data_path())? + allocated(&self.index_path())?)
    }
}

impl LayerStore {
    /// Opens, and if needed creates, `HOME/layers` and `HOME/tmp`.
    pub fn open(home: &Path) -> Result<Self, LayerError> {
        let store = Self { home: home.to_owned() };
        fsutil::create_private_dir(&store.layers())?;
        fsutil::create_private_dir(&home.join("tmp"))?;
        Ok(store)
    }

    /// Finds a layer. Checks that its files are there, have their lengths and belong to it, in constant time.
    pub fn get(&self, diff_id: &Digest) -> Result<Option<Layer>, LayerError> {
        todo!()
    }

    /// Reads an uncompressed tar stream to its end, checks that it is `diff_id`, and publishes the layer.
    ///
    /// Memory is bounded by the number of entries, not by their data. Two processes that import the same layer both
    /// succeed; one directory is the result. Nothing is visible before the last byte was checked.
    pub fn import(&self, diff_id: &Digest, tar: &mut dyn Read, limits: &Limits) -> Result<Layer, LayerError> {
        todo!()
    }

    /// Makes a layer from a directory as it is: the whole tree, but not what is mounted below it.
    ///
    /// The `diff_id` is computed from the content, so an unchanged directory gives the same layer.
    pub fn import_dir(&self, dir: &Path, limits: &Limits) -> Result<Layer, LayerError> {
        todo!()
    }

    /// Deletes a layer. `false` if it was not there. The caller knows that nothing needs it.
    pub fn remove(&self, diff_id: &Digest) -> Result<bool, LayerError> {
        Ok(fsutil::discard(&self.home, &self.directory(diff_id))?)
    }

    /// All layers, in order of their digests.
    pub fn list(&self) -> Result<Vec<Layer>, LayerError> {
        todo!()
    }

    /// Reads the whole layer and compares it with its checksums.
    pub fn verify(&self, layer: &Layer) -> Result<(), LayerError> {
        todo!()
    }

    fn layers(&self) -> PathBuf {
        self.home.join("layers")
    }

    fn directory(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }
}
