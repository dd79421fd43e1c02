//! A VM on disk: a directory with a manifest, the VMM's state and guest memory. Templates and snapshots are such
//! directories; what they are for is in [`crate::template`] and [`crate::snapshots`].
//!
//! | file | content | checked |
//! |---|---|---|
//! | `manifest.json` | [`Manifest`], sealed by its digest | whenever it is opened |
//! | `state` | vCPUs and devices | its size here, its content by the VMM |
//! | `memory` | guest RAM and a table of what is in it | its size here, the table by the VMM, RAM by [`Saved::verify`] |
//! | `working-set` | pages that restores write first ([`WorkingSet`]), once known | its table by the VMM |
//! | `scratch.ext4` | the writable disk of a snapshot | its size here, its content by [`Saved::verify`] |
//!
//! A directory is filled under a name that begins with a dot, locked by its maker, and published by rename.

mod archive;
mod directory;
mod disk;
mod error;
mod host;
mod seal;
mod shelf;
mod staging;
#[cfg(test)]
pub(crate) mod tests;
mod working_set;

pub use archive::ArchiveError;
pub(crate) use archive::{Arriving, send};
pub(crate) use directory::{Saved, on_disk};
pub use error::SavedError;
pub(crate) use host::{boot_id, kernel_release};
pub(crate) use seal::{Content, Origin, seal};
pub(crate) use shelf::{Shelf, ShelfLock, by_digest};
pub(crate) use staging::Staging;
pub(crate) use working_set::WorkingSet;

pub(crate) use ::snapshot::manifest::{FILE as MANIFEST, MEMORY_FILE, STATE_FILE};
