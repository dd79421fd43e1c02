//! The boot id of a copy. The kernel draws it when it is first read and keeps it; a copy of a machine that has read it
//! would have the same. So a file with another one is mounted over it.
//!
//! What this does not reach: a process that has read the old one, and mounts of proc in other mount namespaces. And an
//! unprivileged user namespace in a copy cannot mount a proc of its own, because the kernel does not let it uncover
//! what is covered here. Before the template point nobody reads it, so the machines of one template need none of this.

use crate::sys::{fd, mount};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

const PLACE: &CStr = c"/proc/sys/kernel/random/boot_id";

/// The file in the kernel's place.
#[derive(Debug)]
pub struct BootId {
    file: OwnedFd,
}

impl BootId {
    /// Mounts it. `None` where the machine shows no kernel parameters, and so no boot id.
    pub fn cover(uuid: &str) -> io::Result<Option<Self>> {
        Self::cover_at(PLACE, uuid)
    }

    fn cover_at(place: &CStr, uuid: &str) -> io::Result<Option<Self>> {
        let folder = mount::detached_tmpfs()?;
        let file = fd::create_in(&folder, c"boot_id", 0o444)?;
        let boot_id = Self { file };
        boot_id.set(uuid)?;
        let clone = mount::clone_of(&folder, c"boot_id")?;
        match mount::move_to(&clone, place) {
            Ok(()) => Ok(Some(boot_id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes another one: the length is always the same.
    pub fn set(&self, uuid: &str) -> io::Result<()> {
        fd::write_parameter(&self.file, format!("{uuid}\n").as_bytes())
    }
}
