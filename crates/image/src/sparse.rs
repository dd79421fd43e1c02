//! Where a file has data and where it has holes.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::io;

/// What begins at a position, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    Data(u64),
    Hole(u64),
}

/// The range that begins at `at`, cut off at `end`. A file system that knows no holes has data everywhere.
pub(crate) fn next_range(file: &File, at: u64, end: u64) -> io::Result<Range> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) if data > at => Ok(Range::Hole(data.min(end))),
        Ok(_) => match rustix::fs::seek(file, SeekFrom::Hole(at)) {
            Ok(hole) => Ok(Range::Data(hole.clamp(at + 1, end))),
            Err(error) => Err(error.into()),
        },
        Err(Errno::NXIO) => Ok(Range::Hole(end)),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Range::Data(end)),
        Err(error) => Err(error.into()),
    }
}
