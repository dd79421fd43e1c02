//! What can be wrong with a manifest.

use super::{FORMAT, MAX_BYTES};
use crate::Digest;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than any manifest is.
    #[error("the manifest has {bytes} bytes, more than the {MAX_BYTES} a manifest may have")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON, or JSON without a format version: damaged, or another file.
    #[error("this is no manifest")]
    Json(#[source] serde_json::Error),
    /// Another release's document.
    #[error("the manifest has format {found}, this release reads {FORMAT}")]
    Format {
        /// The document's format.
        found: u64,
    },
    /// The document does not end with its digest.
    #[error("the manifest does not end with its digest: it is truncated, or was edited")]
    Unsealed,
    /// The document is not what it says it is.
    #[error("the manifest is damaged or was edited: it is {found}, and says {expected}")]
    Damaged {
        /// The digest it ends with.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// The document is what it was when it was written, and makes no sense all the same.
    #[error("the manifest is malformed")]
    Malformed(#[source] serde_json::Error),
    /// A disk names a file outside the snapshot's directory.
    #[error(
        "the manifest puts the content of disk {slot} into {file:?}, which is no plain file name"
    )]
    DiskFile {
        /// The disk's slot.
        slot: u8,
        /// What it names.
        file: String,
    },
    /// The document reads the same and is written differently, so that it would have two digests.
    #[error("the manifest is not written the way this release writes it")]
    NotCanonical,
}
