//! The byte stream below an archive: hashed as it passes, cut into slices of one buffer.

use super::super::{LayerError, Malformation, Refusal};
use crate::digest::{Digest, Hasher};
use std::io::{self, Read};

pub(super) const RECORD: usize = 512;

/// Stays in the second-level cache between the hash and the copy.
const BUFFER: usize = 256 << 10;

/// A buffered stream that knows its position and the digest of all it has seen.
pub(super) struct Input<'a> {
    source: &'a mut dyn Read,
    hasher: Hasher,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the stream before `buffer[start]`.
    position: u64,
    limit: u64,
}

/// Why no bytes came.
#[derive(Debug)]
pub(super) enum InputError {
    Read(io::Error),
    Ended,
    Limit(u64),
}

impl InputError {
    /// The error for an entry whose header began at `offset`; `name` is as much of its name as is known.
    pub(super) fn at(self, offset: u64, name: &[u8]) -> LayerError {
        match self {
            Self::Read(error) => LayerError::Read(error),
            Self::Ended => LayerError::Malformed {
                offset,
                reason: Malformation::Truncated,
            },
            Self::Limit(limit) => LayerError::Refused {
                entry: super::super::EntryName::new(name),
                reason: Refusal::Limit {
                    limit,
                    what: "uncompressed bytes in a layer",
                },
            },
        }
    }
}

impl<'a> Input<'a> {
    pub(super) fn new(source: &'a mut dyn Read, limit: u64) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self {
            source,
            hasher: Hasher::new(),
            buffer,
            start: 0,
            end: 0,
            position: 0,
            limit,
        }
    }

    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Some bytes, at least one and at most `max`, which is not zero.
    pub(super) fn chunk(&mut self, max: u64) -> Result<&[u8], InputError> {
        if self.start == self.end && !self.fill()? {
            return Err(InputError::Ended);
        }
        let available = self.end - self.start;
        let len = usize::try_from(max).map_or(available, |max| max.min(available));
        let from = self.start;
        self.start += len;
        self.position += len as u64;
        Ok(&self.buffer[from..from + len])
    }

    /// One record of 512 bytes, or `None` if the stream ends right here.
    pub(super) fn record(&mut self) -> Result<Option<[u8; RECORD]>, InputError> {
        if self.start == self.end && !self.fill()? {
            return Ok(None);
        }
        let mut record = [0; RECORD];
        self.copy_to(&mut record)?;
        Ok(Some(record))
    }

    /// Exactly `len` bytes, which the caller has bounded.
    pub(super) fn bytes(&mut self, len: usize) -> Result<Vec<u8>, InputError> {
        let mut bytes = vec![0; len];
        self.copy_to(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, mut len: u64) -> Result<(), InputError> {
        while len > 0 {
            len -= self.chunk(len)?.len() as u64;
        }
        Ok(())
    }

    /// Reads to the end, whatever comes, and tells the digest of the whole stream.
    pub(super) fn drain(mut self) -> Result<Digest, InputError> {
        loop {
            self.position += (self.end - self.start) as u64;
            self.start = self.end;
            if !self.fill()? {
                return Ok(self.hasher.finish());
            }
        }
    }

    fn copy_to(&mut self, mut target: &mut [u8]) -> Result<(), InputError> {
        while !target.is_empty() {
            let chunk = self.chunk(target.len() as u64)?;
            let (head, tail) = target.split_at_mut(chunk.len());
            head.copy_from_slice(chunk);
            target = tail;
        }
        Ok(())
    }

    /// Refills the empty buffer. `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, InputError> {
        let count = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(InputError::Read)?,
            }
        };
        self.hasher.update(&self.buffer[..count]);
        (self.start, self.end) = (0, count);
        if self.position + count as u64 > self.limit {
            return Err(InputError::Limit(self.limit));
        }
        Ok(count > 0)
    }
}
