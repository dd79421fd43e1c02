//! Contents of files of a VM, as streams.

use super::call::Call;
use std::io::{self, Read};

/// The contents of a file. What fails in the VM is an error of a read, in place of an end too early.
#[derive(Debug)]
pub struct FileReader(Stream);

/// A tree as a tar stream. What fails in the VM is an error of a read, in place of an end too early.
#[derive(Debug)]
pub struct TarReader(Stream);

#[derive(Debug)]
struct Stream {
    call: Call,
    ended: bool,
}

impl Stream {
    const fn new(call: Call) -> Self {
        Self { call, ended: false }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = match self.call.stdout() {
            Some(stdout) => stdout.read(buffer)?,
            None => 0,
        };
        if count == 0 {
            self.ended = true;
            self.call.finish().map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

impl FileReader {
    pub(super) const fn new(call: Call) -> Self {
        Self(Stream::new(call))
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl TarReader {
    pub(super) const fn new(call: Call) -> Self {
        Self(Stream::new(call))
    }
}

impl Read for TarReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
