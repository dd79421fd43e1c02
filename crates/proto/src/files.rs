//! Files of a VM, as the host asks for them on a session of their own.
//!
//! The session is one like any other: a worker inside carries the request out as a process of its own, so nothing that
//! is slow there (a FUSE file system, a full disk) holds up anything else. What it reads comes on the standard input,
//! what it has to say goes to the standard output, both with credit; a [`Failure`] goes to the standard error, encoded,
//! and the exit code is 1 then. Paths are resolved under the workload's root and count from there.

use crate::session::{Bytes, Failure};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most an encoded [`Failure`] has on the standard error.
pub const MAX_FAILURE: usize = 16 << 10;

/// What is asked about files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRequest {
    /// The contents of a regular file, to the standard output.
    Read {
        /// The file.
        path: Bytes,
    },
    /// New contents from the standard input. They appear at once when the input ends, or not at all.
    Write {
        /// The file.
        path: Bytes,
        /// Permissions; those of the file that is replaced otherwise, or 0644.
        mode: Option<u32>,
        /// User and group; those of the file that is replaced otherwise, or root.
        owner: Option<(u32, u32)>,
    },
    /// Looks at a path; answered by [`Stat`].
    Stat {
        /// What to look at.
        path: Bytes,
        /// At what, if that is a symbolic link.
        links: Links,
    },
    /// What is in a directory: an [`Entry`] each, with its length before it as four bytes, little-endian.
    List {
        /// The directory.
        path: Bytes,
    },
    /// Removes a file, a symbolic link or an empty directory.
    Remove {
        /// What goes.
        path: Bytes,
        /// Whether what is in it goes too.
        depth: Depth,
    },
    /// Makes a directory.
    MakeDirectory {
        /// The directory.
        path: Bytes,
        /// Its permissions.
        mode: u32,
        /// Whether missing ones above it are made, and it is no error that it is there.
        depth: Depth,
    },
    /// Gives another name, replacing what has that name.
    Rename {
        /// What.
        from: Bytes,
        /// Its new path.
        to: Bytes,
    },
    /// Packs what stands at a path as a tar stream to the standard output.
    Pack {
        /// What to pack.
        path: Bytes,
        /// What its top is called in the archive; `.` for the contents of a directory.
        name: Bytes,
        /// Of the path itself.
        links: Links,
    },
    /// Unpacks a tar stream from the standard input beneath a directory that is there.
    Unpack {
        /// The directory.
        path: Bytes,
        /// Whose the files become.
        owners: Owners,
    },
}

/// What a symbolic link at the end of a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Links {
    /// Itself.
    Keep,
    /// What it leads to.
    Follow,
}

/// How far a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    /// The last part of the path alone.
    One,
    /// The whole branch.
    All,
}

/// Whose unpacked files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owners {
    /// Root's.
    Root,
    /// As the archive says.
    Kept,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Permissions, with set-user-id, set-group-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of its contents.
    pub size: u64,
    /// Last change of its contents: seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds after that.
    pub mtime_nanos: u32,
    /// Where a symbolic link leads.
    pub target: Option<Bytes>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: Bytes,
    /// What it is itself, links not followed.
    pub stat: Stat,
}

/// A failure as the worker writes it, within [`MAX_FAILURE`].
pub fn encode_failure(failure: &Failure) -> Vec<u8> {
    let mut failure = failure.clone();
    let mut end = failure.context.len().min(MAX_FAILURE / 2);
    while !failure.context.is_char_boundary(end) {
        end -= 1;
    }
    failure.context.truncate(end);
    crate::encode(&failure)
}
