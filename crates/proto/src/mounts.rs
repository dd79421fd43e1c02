//! What a machine has besides its image: mounts, kernel parameters, secrets.

use crate::session::Bytes;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a machine has besides its image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// Mounted in this order.
    pub mounts: Vec<Mount>,
    /// What the workload may do with the root.
    pub root: Access,
    /// Kernel parameters, by their names with dots, and their values.
    pub sysctls: Vec<(Bytes, Bytes)>,
    /// Files under /run/secrets.
    pub secrets: Vec<Secret>,
    /// Whose these files are: a user as in [`crate::session::Process::user`].
    pub secrets_for: Bytes,
}

/// Something mounted in a machine. A missing mount point is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where: an absolute path.
    pub target: Bytes,
    /// What.
    pub source: Source,
    /// What may be done with it.
    pub flags: Flags,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A new tmpfs with these options (`size=`, `mode=`, ...). Without a mode it takes the mount point's.
    Tmpfs(Bytes),
    /// The ext4 disk in a slot.
    Volume {
        /// The slot.
        slot: u8,
        /// What an empty volume gets.
        fill: Fill,
    },
}

/// What an empty volume gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fill {
    /// What the image has at the mount point, which includes its owner and mode.
    Image,
    /// Nothing.
    Nothing,
}

/// What may be done with a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// What may be done with its files.
    pub access: Access,
    /// Programs on it do not run.
    pub no_exec: bool,
    /// Set-user-id means nothing on it.
    pub no_suid: bool,
    /// Device nodes on it open nothing.
    pub no_dev: bool,
}

/// Reading, or writing too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Both.
    #[default]
    ReadWrite,
    /// Reading alone.
    ReadOnly,
}

/// A file under /run/secrets that nobody but its user can read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name there.
    pub name: Bytes,
    /// Its contents.
    pub contents: Bytes,
}

/// What a log shows of a secret is its name.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
