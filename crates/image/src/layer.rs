//! Layers: from a tar stream, or a directory, to a data file and an index.
//!
//! A stored layer is a directory `layers/DIFF_ID/` with two files. `data` holds the contents of the regular
//! files, each beginning at a block of 4 KiB and padded with zeros to the next; blocks of zeros are holes.
//! `index` holds everything else: names, attributes, links, whiteouts, and where in `data` a file lies.

mod archive;
pub(crate) mod attributes;
mod budget;
pub(crate) mod builder;
mod bytes;
pub(crate) mod data;
mod error;
mod import;
pub(crate) mod index;
mod limits;
pub(crate) mod path;
mod store;
mod verify;

pub(crate) use bytes::Bytes;
pub use error::{Damage, EntryName, LayerError, Malformation, Refusal};
pub(crate) use import::{check_room, check_symlink};
pub use limits::Limits;
pub use store::{Layer, LayerStore};

/// Size of a block: of the data files, and of the file system that points into them.
pub const BLOCK_SIZE: u64 = 4096;

/// The largest extended header or long name an archive may contain (the limit of Go's `archive/tar`, and so of every
/// registry tool).
pub const MAX_EXTENSION_BYTES: u64 = 1 << 20;
