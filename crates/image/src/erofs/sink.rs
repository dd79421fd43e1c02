//! The stream the metadata goes to: counted, hashed, gathered into large writes.

use super::Written;
use super::disk::{BLOCK, SUPERBLOCK_OFFSET, seal};
use crate::digest::Hasher;
use std::io::{self, Write};

const BUFFER: usize = 256 << 10;

pub(super) struct Sink<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    flushed: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            hasher: Hasher::new(),
            buffer: Vec::with_capacity(BUFFER + BLOCK as usize),
            flushed: 0,
        }
    }

    pub(super) const fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes zeros up to `position`, which is less than a block away.
    pub(super) fn pad_to(&mut self, position: u64) -> io::Result<()> {
        let missing = position - self.position();
        debug_assert!(missing <= BLOCK, "positions are handed out in order");
        self.put(&[0; BLOCK as usize][..missing as usize])
    }

    pub(super) fn finish(mut self) -> io::Result<Written> {
        debug_assert_eq!(self.position() % BLOCK, 0, "a disk is whole blocks");
        self.flush()?;
        Ok(Written {
            len: self.flushed,
            digest: self.hasher.finish(),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut unhashed = &self.buffer[..];
        if self.flushed == 0 {
            // Nothing shorter than the first block is ever flushed first: the buffer is larger, and a disk is not less.
            seal(&mut self.buffer);
            unhashed = &self.buffer[SUPERBLOCK_OFFSET as usize..];
        }
        self.hasher.update(unhashed);
        self.out.write_all(&self.buffer)?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
