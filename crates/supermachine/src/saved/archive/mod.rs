//! A snapshot as one file that builds upon nothing, for another host or another day.
//!
//! A tar archive in one zstd frame, with these entries in this order and no others:
//!
//! | entry | content |
//! |---|---|
//! | `supermachine-snapshot` | the format of the archive and a newline |
//! | `manifest.json` | a manifest without a base |
//! | `state` | as it is in the directory |
//! | `memory` | all layers as one: what the digest of a memory file is of |
//! | `scratch.ext4` | what is in the writable disk: what its digest is of |
//!
//! So every digest in the manifest is the SHA-256 of an entry, and is known when the entry has passed. Everything in
//! an archive is somebody else's word: sizes are checked before they are believed, nothing is allocated for what has
//! not come, and nothing is published before all of it was compared.

mod arriving;
mod content;
mod entry;
mod error;
mod send;
#[cfg(test)]
mod tests;

pub(crate) use arriving::Arriving;
pub use error::ArchiveError;
pub(crate) use send::send;

use super::{MANIFEST, MEMORY_FILE, STATE_FILE};
use crate::record::SCRATCH;

/// Changes when anything about the entries does but the contents of state and manifest, which have formats of their
/// own.
const FORMAT: &str = "1";

/// An entry of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Format,
    Manifest,
    State,
    Memory,
    Disk,
}

impl Entry {
    const fn name(self) -> &'static str {
        match self {
            Self::Format => "supermachine-snapshot",
            Self::Manifest => MANIFEST,
            Self::State => STATE_FILE,
            Self::Memory => MEMORY_FILE,
            Self::Disk => SCRATCH,
        }
    }
}
