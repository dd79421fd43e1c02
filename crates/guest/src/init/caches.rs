//! Page cache, which a saved machine does not need: what is clean is on a disk.

use crate::sys::{fd, system};
use std::io;
use std::os::fd::OwnedFd;

/// Free memory that is never used for zeroing, so that a workload that grows meanwhile finds some.
const SPARE: u64 = 32 << 20;
/// Bytes zeroed by one call.
const PIECE: usize = 1 << 20;

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

    /// Gives clean page cache, directory entries and inodes away, and makes the memory zero that this sets free: to
    /// whoever saves it, a free page is one like any other unless it is zero.
    ///
    /// Free memory is not compacted: moving pages together would write to them, and every page that was written to has
    /// to be saved.
    pub fn drop_clean(&self) -> io::Result<()> {
        let before = system::free_memory()?;
        fd::write_parameter(&self.switch, b"3")?;
        let free = system::free_memory()?;
        zero(free.saturating_sub(before).min(free.saturating_sub(SPARE)))
    }
}

/// Zeroes about this much free memory, by filling a file in memory and dropping it. The kernel gives out first what
/// was freed last. Writing is cheaper than touching: it takes no page faults.
fn zero(bytes: u64) -> io::Result<()> {
    let file = fd::memory_file(c"zero")?;
    let zeroes = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(PIECE as u64) as usize;
        match fd::write(&file, &zeroes[..piece]) {
            Ok(written @ 1..) => left -= written as u64,
            // There is less free memory than there was: then there is less to zero.
            _ => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroing_ends_whatever_its_size() {
        for bytes in [0, 1, PIECE as u64 + 1, 8 << 20] {
            zero(bytes).unwrap();
        }
    }
}
