//! Page cache, which a saved machine does not need: what is clean is on a disk.

use crate::sys::fd;
use std::io;
use std::os::fd::OwnedFd;

/// The kernel's switch, opened while nothing of the image can stand in its place.
#[derive(Debug)]
pub struct Caches {
    switch: OwnedFd,
}

impl Caches {
    /// Needs /proc.
    pub fn open() -> io::Result<Self> {
        fd::open(c"/proc/sys/vm/drop_caches", libc::O_WRONLY).map(|switch| Self { switch })
    }

    /// Gives clean page cache, directory entries and inodes away. Free memory is not compacted: moving pages together
    /// would write to them, and every page that was written to has to be saved.
    pub fn drop_clean(&self) -> io::Result<()> {
        fd::write_parameter(&self.switch, b"3")
    }
}
