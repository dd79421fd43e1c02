//! The host's end of a connection.

use crate::virtio::buffers::Slice;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use vm_memory::{ReadVolatile, VolatileMemoryError, WriteVolatile};

/// A byte stream that never blocks: it fails with [`io::ErrorKind::WouldBlock`] instead.
///
/// Reads and writes go straight to and from guest memory, hence the volatile kinds.
pub trait HostStream: Read + Write + ReadVolatile + WriteVolatile {
    /// Ends one direction or both.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

impl HostStream for UnixStream {
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        Self::shutdown(self, how)
    }
}

/// What became of an attempt to read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// This many bytes, and there may be more to do.
    Moved(usize),
    /// This many bytes, and then the stream would have blocked: the VMM will say when it is ready again.
    Blocked(usize),
    /// The stream is at its end.
    End,
    /// The stream is broken.
    Broken,
}

/// Reads into guest memory until it is full or the stream would block. What was read in front of an end or
/// an error is delivered first; both come up again.
pub(super) fn read_into(stream: &mut impl HostStream, slices: &[Slice<'_>]) -> Attempt {
    let mut total = 0;
    for slice in slices {
        let mut rest = *slice;
        while !rest.is_empty() {
            match retry(|| stream.read_volatile(&mut rest).map_err(into_io)) {
                Ok(0) if total == 0 => return Attempt::End,
                Ok(0) => return Attempt::Moved(total),
                Ok(len) => total += advance(&mut rest, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Attempt::Blocked(total);
                }
                Err(_) if total > 0 => return Attempt::Moved(total),
                Err(_) => return Attempt::Broken,
            }
        }
    }
    Attempt::Moved(total)
}

/// Writes from guest memory until it is all gone or the stream would block.
pub(super) fn write_from(stream: &mut impl HostStream, slices: &[Slice<'_>]) -> Attempt {
    let mut total = 0;
    for slice in slices {
        let mut rest = *slice;
        while !rest.is_empty() {
            match retry(|| stream.write_volatile(&rest).map_err(into_io)) {
                Ok(0) => return Attempt::Broken,
                Ok(len) => total += advance(&mut rest, len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Attempt::Blocked(total);
                }
                Err(_) => return Attempt::Broken,
            }
        }
    }
    Attempt::Moved(total)
}

fn advance(slice: &mut Slice<'_>, len: usize) -> usize {
    let len = len.min(slice.len());
    if let Ok(rest) = slice.offset(len) {
        *slice = rest;
    }
    len
}

/// Writes from host memory, once.
pub(super) fn write_bytes(stream: &mut impl HostStream, bytes: &[u8]) -> Attempt {
    match retry(|| stream.write(bytes)) {
        Ok(0) => Attempt::Broken,
        Ok(len) => Attempt::Moved(len),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Attempt::Blocked(0),
        Err(_) => Attempt::Broken,
    }
}

/// Ends a stream so that its peer sees an orderly end. A Unix socket closed with unread data in it shows
/// its peer ECONNRESET, so that is read first; after the shutdown no more can come.
pub(super) fn finish(stream: &mut impl HostStream) {
    /// Steps of 16 KiB: more than a socket buffer holds by default.
    const STEPS: usize = 64;
    let _ = stream.shutdown(Shutdown::Both);
    let mut discarded = [0; 16 << 10];
    for _ in 0..STEPS {
        if !retry(|| stream.read(&mut discarded)).is_ok_and(|len| len > 0) {
            break;
        }
    }
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn into_io(error: VolatileMemoryError) -> io::Error {
    match error {
        VolatileMemoryError::IOError(error) => error,
        other => io::Error::other(other),
    }
}
