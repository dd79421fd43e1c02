//! What a stopped VM is on disk: a directory of three files.
//!
//! - [`manifest`]: `manifest.json`, what people and the library need to know before they touch the others;
//! - [`state`]: named, versioned sections, one for each part of the machine that has a memory of its own;
//! - [`memory`]: guest RAM at its own offset, sparse, and behind it the table of runs that says which pages count.
//!
//! Further files hold writable disks; [`disk`] is what several of them make together.
//!
//! docs/snapshot-format.md describes all three to the byte. This crate reads and writes them and knows nothing
//! about what the sections mean. Every file is as untrusted as a guest: reading one cannot panic, and cannot
//! allocate more than the file is long.
#![forbid(unsafe_code)]

pub mod disk;
pub mod manifest;
pub mod memory;
pub mod state;

mod digest;

pub use digest::{Digest, DigestError};
pub use manifest::Manifest;
pub use state::{State, StateWriter};
