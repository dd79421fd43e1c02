//! What keeps a disk's bytes.

use crate::virtio::buffers::Slice;
use std::io;

/// The unit of every address and length on the wire (virtio 1.2, section 5.2.4), whatever the block size.
pub const SECTOR_SIZE: u64 = 512;

/// What keeps a disk's bytes. The device asks only for whole sectors inside of [`Backend::size`].
pub trait Backend: Send {
    /// Bytes on the disk, a multiple of [`SECTOR_SIZE`].
    fn size(&self) -> u64;

    /// Fills all of `buffers` with what stands at `offset`.
    fn read_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()>;

    /// Stores all of `buffers` at `offset`.
    fn write_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()>;

    /// Makes every write so far survive a crash of the host.
    fn flush(&mut self) -> io::Result<()>;

    /// Gives `len` bytes at `offset` back to the host; they read as zeros afterwards.
    fn punch_hole(&mut self, offset: u64, len: u64) -> io::Result<()>;

    /// Gives `len` bytes at `offset` back to the host where that is cheap; nobody will ask what they were.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.punch_hole(offset, len)
    }
}

impl<B: Backend + ?Sized> Backend for Box<B> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()> {
        (**self).read_at(buffers, offset)
    }

    fn write_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()> {
        (**self).write_at(buffers, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn punch_hole(&mut self, offset: u64, len: u64) -> io::Result<()> {
        (**self).punch_hole(offset, len)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        (**self).discard(offset, len)
    }
}
