//! The digest of what a memory file says.

use super::error::MemoryError;
use super::run::{PAGE_SIZE, RunKind};
use super::table;
use crate::Digest;
use crate::digest::Hasher;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
const BUFFER: u64 = 1 << 20;

/// SHA-256 of the table of runs (without its own digest) and then of the pages of its data runs, in order. So it does
/// not depend on where the file system keeps holes.
///
/// Pages that are in no data run must read as zero: a mapping of the file shows them to the guest. Reads the file
/// from front to end once, with a buffer of 1 MiB; holes that are no part of a data run are skipped. Moves the file's
/// offset.
pub fn digest(file: &File, ram_bytes: u64) -> Result<Digest, MemoryError> {
    let runs = table::read_runs(file, ram_bytes)?;
    let mut hasher = Hasher::new();
    hasher.update(&table::encode(ram_bytes, &runs));
    let mut reader = Reader {
        file,
        buffer: vec![0; BUFFER as usize],
    };
    let mut end = 0;
    for run in runs.iter().filter(|run| run.kind == RunKind::Data) {
        reader.expect_zeros(end, run.offset())?;
        reader.each(run.offset(), run.offset() + run.bytes(), |_, bytes| {
            hasher.update(bytes);
            Ok(())
        })?;
        end = run.offset() + run.bytes();
    }
    reader.expect_zeros(end, ram_bytes)?;
    Ok(hasher.finish())
}

struct Reader<'f> {
    file: &'f File,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// Shows everything from `start` to `end`, a piece at a time, with the piece's offset.
    fn each(
        &mut self,
        start: u64,
        end: u64,
        mut show: impl FnMut(u64, &[u8]) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        let mut at = start;
        while at < end {
            let piece = &mut self.buffer[..(end - at).min(BUFFER) as usize];
            self.file
                .read_exact_at(piece, at)
                .map_err(|source| MemoryError::ReadPage {
                    page: at / PAGE_SIZE,
                    source,
                })?;
            show(at, piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Checks that everything from `start` to `end` reads as zero; looks only where the file system has something.
    fn expect_zeros(&mut self, start: u64, end: u64) -> Result<(), MemoryError> {
        let mut at = start;
        while at < end {
            let data = self.seek(SeekFrom::Data(at), end)?;
            let hole = self.seek(SeekFrom::Hole(data), end)?;
            self.each(data, hole, |offset, bytes| {
                match bytes.iter().position(|&byte| byte != 0) {
                    None => Ok(()),
                    Some(stray) => Err(MemoryError::Stray {
                        page: (offset + stray as u64) / PAGE_SIZE,
                    }),
                }
            })?;
            at = hole;
        }
        Ok(())
    }

    /// Where the next data or hole is, but not past `end`.
    fn seek(&self, to: SeekFrom, end: u64) -> Result<u64, MemoryError> {
        let (SeekFrom::Data(from) | SeekFrom::Hole(from)) = to else {
            unreachable!("only data and holes are looked for");
        };
        if from >= end {
            return Ok(end);
        }
        match rustix::fs::seek(self.file, to) {
            Ok(found) => Ok(found.min(end)),
            // No data behind `from`.
            Err(Errno::NXIO) => Ok(end),
            Err(errno) => Err(MemoryError::ReadPage {
                page: from / PAGE_SIZE,
                source: errno.into(),
            }),
        }
    }
}
