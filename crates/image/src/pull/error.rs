//! What can end a pull.
use crate::blob::BlobError;
use crate::cancel::Interrupted;
use crate::digest::Digest;
use crate::layer::LayerError;
use crate::reference::ImageRef;
use crate::registry::RegistryError;
use crate::source::{SourceError, TarballError};
use crate::store::StoreError;

/// A pull that failed. The store is as it was, but for layers that were complete.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It is not in the store, and nobody else may be asked.
    #[error("image {reference} is not in the store")]
    NotPresent {
        /// What was asked for.
        reference: String,
    },
    /// The image could not be read where it is.
    #[error("cannot get image {reference}")]
    Source {
        /// What was asked for.
        reference: String,
        /// Why.
        source: Box<SourceError>,
    },
    /// A layer's blob did not arrive as it should.
    #[error("cannot get a layer of image {reference}")]
    Blob {
        /// What was asked for.
        reference: String,
        /// Why.
        source: Box<BlobError>,
    },
    /// A layer arrived, but cannot be used.
    #[error("cannot use layer {layer} of image {reference}")]
    Layer {
        /// What was asked for.
        reference: String,
        /// The blob of the layer.
        layer: Digest,
        /// Why.
        source: Box<LayerError>,
    },
    /// Manifest and config contradict each other.
    #[error("image {reference} has {layers} layers, but its config states {diff_ids}")]
    LayerCount {
        /// What was asked for.
        reference: String,
        /// In the manifest.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// A directory cannot be used as a root filesystem.
    #[error("cannot use {reference} as an image")]
    Directory {
        /// What was asked for.
        reference: String,
        /// Why.
        source: Box<LayerError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Cancelled or out of time.
    #[error("the pull did not finish: {0}")]
    Interrupted(#[from] Interrupted),
}

impl PullError {
    /// An interruption is one however deep it was noticed.
    pub(super) fn source(reference: &ImageRef, error: SourceError) -> Self {
        match error {
            SourceError::Registry(RegistryError::Interrupted(interrupted))
            | SourceError::Tarball(TarballError::Interrupted(interrupted)) => {
                Self::Interrupted(interrupted)
            }
            error => Self::Source {
                reference: reference.to_string(),
                source: Box::new(error),
            },
        }
    }

    pub(super) fn blob(reference: &ImageRef, error: BlobError) -> Self {
        match &error {
            BlobError::Interrupted(interrupted) => return Self::Interrupted(*interrupted),
            BlobError::Fetch { source, .. } => {
                if let RegistryError::Interrupted(interrupted) = **source {
                    return Self::Interrupted(interrupted);
                }
            }
            _ => {}
        }
        Self::Blob {
            reference: reference.to_string(),
            source: Box::new(error),
        }
    }
}
