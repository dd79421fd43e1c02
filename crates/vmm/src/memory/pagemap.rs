//! Which pages of a mapping are this process's own: written since they were mapped, by the guest or by a device.
//!
//! The kernel tells in /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst), 64 bits a page. KVM's dirty log
//! would miss what devices write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// A page of a file, or shared: not written yet.
const FILE: u64 = 1 << 61;

/// Entries read at a time.
const BATCH: usize = 64 << 10;

/// Calls `found` with the number of every page of our own among `count` pages from `address` on, counted from 0.
pub(super) fn own_pages(
    pagemap: &File,
    address: usize,
    count: usize,
    mut found: impl FnMut(usize),
) -> io::Result<()> {
    let first = address as u64 / super::dump::HOST_PAGE;
    let mut buffer = vec![0; BATCH.min(count) * 8];
    for start in (0..count).step_by(BATCH) {
        let bytes = &mut buffer[..BATCH.min(count - start) * 8];
        pagemap.read_exact_at(bytes, (first + start as u64) * 8)?;
        for (index, entry) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let entry = u64::from_ne_bytes(*entry);
            if entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0 {
                found(start + index);
            }
        }
    }
    Ok(())
}
