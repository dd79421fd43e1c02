//! Directory trees as tar streams, for both ends of a copy into or out of a VM.
//!
//! [`pack()`] writes what stands under a path, [`Unpacker`] makes it again beneath a directory. The stream may come
//! from somebody hostile: no path of it leads out of the directory, no symbolic link is followed, nothing that is
//! there is written through, no length is believed before the bytes are there.
//!
//! The format is POSIX's pax: names and times of any length, `user.*` attributes as everybody writes them
//! (`SCHILY.xattr.`), and files with holes as GNU's sparse format 1.0. What GNU tar, Go and Python write is read.

#![forbid(unsafe_code)]

mod error;
mod member;
mod pack;
mod pax;
mod reader;
mod sparse;
#[cfg(test)]
mod tests;
mod unpack;
mod writer;

pub use error::{Doing, TreeError};
pub use member::{Kind, Member, Time};
pub use pack::{Links, Pack, pack};
pub use reader::Reader;
pub use unpack::{Devices, Owners, Unpacker};
pub use writer::Writer;
