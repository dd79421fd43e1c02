//! What can be wrong with an exported snapshot.

use super::FORMAT;
use ::snapshot::Digest;
use ::snapshot::manifest::ManifestError;
use ::snapshot::memory::MemoryError;
use ::snapshot::state::StateError;
use std::io;

/// Why a snapshot cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Something else altogether, or nothing.
    #[error("this is no exported snapshot")]
    Unknown(#[source] io::Error),
    /// An archive of something else.
    #[error("this is no exported snapshot: it begins with {0:?}")]
    Foreign(String),
    /// Of another release.
    #[error("the exported snapshot has format {found:?}, this release reads {FORMAT}")]
    Format {
        /// What it says.
        found: String,
    },
    /// It ends too early.
    #[error("the exported snapshot is truncated: it ends in {entry}")]
    Truncated {
        /// What was being read.
        entry: &'static str,
    },
    /// It cannot be read or unpacked.
    #[error("cannot read {entry} of the exported snapshot")]
    Read {
        /// What was being read.
        entry: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {entry} of the exported snapshot")]
    Write {
        /// What was being written.
        entry: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another entry than the one whose turn it is.
    #[error("the exported snapshot has {found:?} where {expected} belongs")]
    Order {
        /// Whose turn it is.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A header that no release writes.
    #[error(
        "the exported snapshot is damaged, or was packed by another program: see the header of {entry}"
    )]
    Header {
        /// Which entry's.
        entry: &'static str,
    },
    /// An entry of another size than it can have.
    #[error("{entry} of the exported snapshot has {found} bytes, and should have {expected}")]
    Size {
        /// Which.
        entry: &'static str,
        /// What its header says.
        found: u64,
        /// What it should have, or the most it may.
        expected: u64,
    },
    /// An entry of another content than the manifest says.
    #[error(
        "{entry} of the exported snapshot is damaged: its digest is {found}, and should be {expected}"
    )]
    Digest {
        /// Which.
        entry: &'static str,
        /// Its digest.
        found: Digest,
        /// What the manifest says.
        expected: Digest,
    },
    /// Something follows the last entry, or lies between two.
    #[error("the exported snapshot is damaged: there is something behind {entry}")]
    Trailing {
        /// Behind which entry.
        entry: &'static str,
    },
    /// The manifest cannot be used.
    #[error("the manifest of the exported snapshot cannot be used")]
    Manifest(#[source] ManifestError),
    /// The manifest describes what no exported snapshot is.
    #[error(
        "the manifest of the exported snapshot says nothing this release can use about the {what}"
    )]
    Facts {
        /// About what.
        what: &'static str,
    },
    /// The state is damaged, or of another release.
    #[error("the state of the exported snapshot cannot be used")]
    State(#[source] StateError),
    /// The memory cannot be used, read or written.
    #[error("the memory of the exported snapshot cannot be used")]
    Memory(#[source] MemoryError),
    /// A piece of the disk that is where none can be, or empty.
    #[error(
        "the writable disk of the exported snapshot has a piece at {offset} that cannot be there"
    )]
    Piece {
        /// Where it says it belongs.
        offset: u64,
    },
}
