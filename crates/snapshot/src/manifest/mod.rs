//! `manifest.json`: what a snapshot is, for people and for the library.
//!
//! The document seals itself: its last member is the SHA-256 of every byte in front of it. That digest is also the
//! snapshot's name: a snapshot of changes names its base by it.

mod error;
mod facts;
mod seal;

#[cfg(test)]
mod tests;

pub use error::ManifestError;
pub use facts::{Cpu, Disk, Host, Image, Kernel, Kind, Manifest, Memory, StateFile};

/// The name of the file in a snapshot's directory.
pub const FILE: &str = "manifest.json";
/// The name of the state file.
pub const STATE_FILE: &str = "state";
/// The name of the memory file.
pub const MEMORY_FILE: &str = "memory";
/// Version of the document. A release reads its own and no other.
pub const FORMAT: u32 = 2;
/// The longest document in bytes.
pub const MAX_BYTES: usize = 1 << 20;
