//! The read-only root disk of an image: a metadata file of its own, and the data of its layers.

use crate::digest::Digest;
use crate::fsutil::FsError;
use crate::layer::{EntryName, Layer, LayerError, Refusal};
use std::path::{Path, PathBuf};

/// The composed root file systems below one home directory.
#[derive(Debug, Clone)]
pub struct RootStore {
    home: PathBuf,
}

/// A root file system as a block device: the concatenation of the pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootImage {
    /// Name of the root in the store: digest of the ordered diff_ids and the format's version.
    pub key: Digest,
    /// Digest of the file system's metadata: the same layers give the same bytes on every machine.
    pub digest: Digest,
    /// Metadata first, then the layers' data, bottom first. Empty pieces are left out.
    pub pieces: Vec<Piece>,
}

/// One file of a root disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes, a multiple of 4096.
    pub len: u64,
}

/// A metadata file in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFile {
    /// As [`RootImage::key`].
    pub key: Digest,
    /// The metadata file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
}

/// A root that could not be composed, found, checked or removed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A step on the store's files failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A layer cannot be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A layer does not fit on those below it.
    #[error("refused the entry {entry} of layer {diff_id}: {reason}")]
    Refused {
        /// The layer.
        diff_id: Digest,
        /// Its entry.
        entry: EntryName,
        /// Why.
        reason: Refusal,
    },
    /// The layers are larger than the file system can address.
    #[error("the image needs {blocks} blocks of 4 KiB; a root disk holds at most {max}")]
    TooLarge {
        /// Metadata and data.
        blocks: u64,
        /// The limit of 32-bit block addresses.
        max: u64,
    },
    /// The metadata file is not what was written.
    #[error("the stored root {path} is damaged: remove the image and pull it again")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl RootStore {
    /// Opens, and if needed creates, `HOME/roots` and `HOME/tmp`.
    pub fn open(home: &Path) -> Result<Self, RootError> {
        todo!()
    }

    /// Composes, or finds, the root file system of these layers, bottom first. Deterministic.
    pub fn compose(&self, layers: &[Layer]) -> Result<RootImage, RootError> {
        todo!()
    }

    /// Deletes a root's metadata file. `false` if it was not there. The caller knows that nothing needs it.
    pub fn remove(&self, key: &Digest) -> Result<bool, RootError> {
        todo!()
    }

    /// All metadata files, in order of their keys.
    pub fn list(&self) -> Result<Vec<RootFile>, RootError> {
        todo!()
    }

    /// Compares a metadata file with its checksum, and the pieces with their lengths.
    pub fn verify(&self, root: &RootImage) -> Result<(), RootError> {
        todo!()
    }
}
