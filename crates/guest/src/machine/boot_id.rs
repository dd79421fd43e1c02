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
/// In the initramfs, to which no path leads later.
const FILE: &CStr = c"/boot_id";

/// The file for the kernel's place.
#[derive(Debug)]
pub struct BootId {
    file: OwnedFd,
    place: Place,
}

/// Whether it is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Kernels,
    Covered,
}

impl BootId {
    /// Makes the file. Needs the initramfs as the root.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            file: fd::create(FILE, 0o444)?,
            place: Place::Kernels,
        })
    }

    /// Makes this the machine's boot id. One that shows no kernel parameters has none.
    pub fn set(&mut self, uuid: &str) -> io::Result<()> {
        // The length is always the same.
        fd::write_parameter(&self.file, format!("{uuid}\n").as_bytes())?;
        if self.place == Place::Covered {
            return Ok(());
        }
        match mount::move_to(&mount::of_file(&self.file)?, PLACE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(()),
            Ok(()) => {
                self.place = Place::Covered;
                Ok(())
            }
        }
    }
}
