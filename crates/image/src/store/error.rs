//! What can go wrong in the store.
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::digest::Digest;
use crate::fsutil::FsError;
use crate::layer::LayerError;
use crate::manifest::ManifestError;
use crate::root::RootError;

/// An operation on the store that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A step on the store's files failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Another release wrote the store.
    #[error(
        "the store in {home} has format {found:?}, this release reads format {supported}: use the release that wrote it, or another SUPERMACHINE_HOME"
    )]
    Version {
        /// The home directory.
        home: PathBuf,
        /// What its version file says.
        found: String,
        /// What we read.
        supported: &'static str,
    },
    /// A relative path leads nowhere.
    #[error("cannot tell the current directory")]
    CurrentDir(#[source] std::io::Error),
    /// The index of names is not what was written.
    #[error(
        "the index of names {path} is damaged: delete it and pull your images again (their layers are kept)"
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// An image's own files are not what was written.
    #[error("image {digest} is damaged in the store: pull it again")]
    Damaged {
        /// The image.
        digest: Digest,
        /// What is wrong.
        source: Box<Corruption>,
    },
    /// A layer failed us.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A root failed us.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The start of a digest fits several images.
    #[error("{prefix:?} is the start of more than one image's id: {}", list(found))]
    Ambiguous {
        /// The digits given.
        prefix: String,
        /// Some of the images.
        found: Vec<Digest>,
    },
    /// Nothing by this name.
    #[error("there is no image {reference} in the store")]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// Somebody uses the image.
    #[error("image {reference} ({digest}) is in use by a virtual machine: remove that first")]
    InUse {
        /// What was asked for.
        reference: String,
        /// The image.
        digest: Digest,
    },
    /// An id that has several names.
    #[error("image {digest} has several names: remove them one by one ({})", names.join(", "))]
    SeveralNames {
        /// The image.
        digest: Digest,
        /// Its names.
        names: Vec<String>,
    },
    /// Others add images all the time.
    #[error("images are being pulled into this store: run prune again when that is done")]
    Busy,
    /// The host gives no more threads.
    #[error("cannot start a thread to wait for the store's lock")]
    Thread {
        /// What the host said.
        source: std::io::Error,
    },
}

fn list(digests: &[Digest]) -> String {
    digests
        .iter()
        .map(Digest::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What is wrong with an image's own files.
#[derive(Debug, thiserror::Error)]
pub enum Corruption {
    /// A file is missing or cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A file's content is not the one it was stored under.
    #[error("{file} has the digest {found}, expected {expected}")]
    Digest {
        /// The file.
        file: PathBuf,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The manifest cannot be read.
    #[error("manifest.json cannot be used")]
    Manifest(#[from] ManifestError),
    /// The config cannot be read.
    #[error("config.json cannot be used")]
    Config(#[from] ConfigError),
    /// The description of the root is not what was written.
    #[error("{file} is not what was written")]
    Root {
        /// The file.
        file: PathBuf,
    },
    /// A file that every image has is not there.
    #[error("{file} is missing")]
    Incomplete {
        /// The file.
        file: PathBuf,
    },
    /// A layer is not there.
    #[error("layer {diff_id} is missing")]
    LayerMissing {
        /// The layer.
        diff_id: Digest,
    },
    /// A layer is there but not whole.
    #[error("a layer cannot be used")]
    Layer(#[from] LayerError),
    /// The root is there but not whole.
    #[error("the root filesystem cannot be used")]
    RootImage(#[from] RootError),
}
