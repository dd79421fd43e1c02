//! Disk I/O straight between a file and guest memory.

use devices::virtio::blk::{DiskFile, Scratch};
use std::fs::File;
use std::io;
use vm_memory::VolatileSlice;

/// The most pieces one system call takes (`UIO_MAXIOV` in Linux).
const MAX_PIECES: usize = 1024;

/// A file whose reads and writes pass through no memory but the guest's.
#[derive(Debug)]
pub struct DirectFile(File);

impl From<File> for DirectFile {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl DiskFile for DirectFile {
    fn file(&self) -> &File {
        &self.0
    }

    fn read_vectored_at(
        &self,
        buffers: &[VolatileSlice<'_>],
        offset: u64,
        _scratch: &mut Scratch,
    ) -> io::Result<usize> {
        positioned(libc::preadv, &self.0, buffers, offset)
    }

    fn write_vectored_at(
        &self,
        buffers: &[VolatileSlice<'_>],
        offset: u64,
        _scratch: &mut Scratch,
    ) -> io::Result<usize> {
        positioned(libc::pwritev, &self.0, buffers, offset)
    }
}

/// `preadv` or `pwritev`.
type Call = unsafe extern "C" fn(i32, *const libc::iovec, i32, i64) -> isize;

/// Moves what one call moves, from or to the first pieces.
fn positioned(
    call: Call,
    file: &File,
    buffers: &[VolatileSlice<'_>],
    offset: u64,
) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    let offset = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let guards: Vec<_> = buffers
        .iter()
        .take(MAX_PIECES)
        .map(VolatileSlice::ptr_guard_mut)
        .collect();
    let pieces: Vec<_> = guards
        .iter()
        .map(|guard| libc::iovec {
            iov_base: guard.as_ptr().cast(),
            iov_len: guard.len(),
        })
        .collect();
    // SAFETY: each piece is memory that a slice of guest memory keeps mapped for as long as `guards` lives, which is
    // until after the call. The kernel copies bytes, so a guest that changes them meanwhile harms only itself, and no
    // Rust reference to them exists. Memory that cannot be reached ends the call with EFAULT.
    let moved = unsafe {
        call(
            file.as_raw_fd(),
            pieces.as_ptr(),
            pieces.len() as i32,
            offset,
        )
    };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{MmapRegion, VolatileMemory};

    /// A file of bytes of which no two neighbors are alike, and memory of the same length.
    fn file_and_memory(len: usize) -> (DirectFile, Vec<u8>, MmapRegion) {
        let content: Vec<_> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &content).unwrap();
        (DirectFile(file), content, MmapRegion::new(len).unwrap())
    }

    #[test]
    fn more_pieces_than_a_call_takes_go_in_several() {
        let len = 3 * (MAX_PIECES + 10);
        let (file, content, memory) = file_and_memory(len);
        let pieces: Vec<_> = (0..len)
            .step_by(3)
            .map(|at| memory.get_slice(at, 3).unwrap())
            .collect();
        let mut scratch = Scratch::default();
        let first = file.read_vectored_at(&pieces, 0, &mut scratch).unwrap();
        assert_eq!(first, 3 * MAX_PIECES);
        let rest = &pieces[MAX_PIECES..];
        assert_eq!(
            file.read_vectored_at(rest, first as u64, &mut scratch)
                .unwrap(),
            30
        );
        let mut seen = vec![0; len];
        memory.get_slice(0, len).unwrap().copy_to(&mut seen[..]);
        assert_eq!(seen, content);

        let copy = DirectFile(tempfile::tempfile().unwrap());
        assert_eq!(
            copy.write_vectored_at(&pieces[..2], 7, &mut scratch)
                .unwrap(),
            6
        );
        let mut seen = [9; 6];
        std::os::unix::fs::FileExt::read_exact_at(copy.file(), &mut seen, 7).unwrap();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_end_of_a_file_and_what_cannot_be_written_are_told() {
        let (file, _, memory) = file_and_memory(100);
        let all = [memory.get_slice(0, 100).unwrap()];
        let mut scratch = Scratch::default();
        assert_eq!(file.read_vectored_at(&all, 90, &mut scratch).unwrap(), 10);
        assert_eq!(file.read_vectored_at(&all, 100, &mut scratch).unwrap(), 0);
        assert!(file.read_vectored_at(&all, u64::MAX, &mut scratch).is_err());
        let full = DirectFile(File::options().write(true).open("/dev/full").unwrap());
        let error = full.write_vectored_at(&all, 0, &mut scratch).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
