//! The block device (virtio 1.2, section 5.2).
//!
//! ```text
//! queue -> request (what the driver asked) -> device (whether it may, and the answer) -> Backend (the bytes)
//! ```
//!
//! The usual backend is [`FileDisk`], a concatenation of files. [`LayeredDisk`] is one that lies upon others.

mod backend;
mod device;
mod disk;
mod failure;
mod file;
mod layered;
mod request;

#[cfg(test)]
mod guest;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod layered_tests;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;

pub use backend::{Backend, SECTOR_SIZE};
pub use device::{Access, Block};
pub use disk::{DiskError, FileDisk, Piece};
pub use failure::{Failure, Observer, Operation};
pub use file::{DiskFile, Scratch};
pub use layered::LayeredDisk;
