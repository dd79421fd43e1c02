//! A memory on its way from one host to another: the table of runs without its own digest, then the pages of the data
//! runs in order.

use super::error::MemoryError;
use super::run::{self, PAGE_SIZE, Run, RunKind};
use super::table::{self, ENTRY, HEADER};
use crate::Digest;
use crate::digest::Hasher;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
pub(super) const BUFFER: u64 = 1 << 20;

/// The most runs that are sent and taken: a table of 64 MiB, which is held in memory.
const MAX_RUNS: usize = 4 << 20;

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Pages in data runs.
    pub pages: u64,
    /// Of the memory file; not compared with anything.
    pub digest: Digest,
}

/// Reads the `length` bytes of a memory that [`super::Merged::write_to`] wrote into an empty file, which becomes a
/// memory file. Pages of zeros are left holes. Nothing is allocated for what has not come yet.
pub fn receive(
    from: &mut impl Read,
    length: u64,
    file: &File,
    ram_bytes: u64,
) -> Result<Received, MemoryError> {
    let mut hasher = Hasher::new();
    let runs = receive_runs(from, ram_bytes, &mut hasher)?;
    let data = || runs.iter().filter(|run| run.kind == RunKind::Data);
    let pages = data().map(|run| run.pages).sum();
    let needed = bytes(runs.len(), pages);
    if length != needed {
        return Err(MemoryError::Length {
            needed,
            found: length,
        });
    }
    let mut buffer = vec![0; BUFFER as usize];
    for run in data() {
        let (mut at, end) = (run.offset(), run.offset() + run.bytes());
        while at < end {
            let part = &mut buffer[..(end - at).min(BUFFER) as usize];
            from.read_exact(part).map_err(MemoryError::Stream)?;
            hasher.update(part);
            write_pages(file, part, at)?;
            at += part.len() as u64;
        }
    }
    table::write_runs(file, ram_bytes, &runs)?;
    Ok(Received {
        pages,
        digest: hasher.finish(),
    })
}

/// Bytes of a memory on its way.
pub(super) const fn bytes(runs: usize, pages: u64) -> u64 {
    HEADER as u64 + ENTRY as u64 * runs as u64 + pages * PAGE_SIZE
}

pub(super) const fn check_count(runs: usize) -> Result<(), MemoryError> {
    if runs > MAX_RUNS {
        return Err(MemoryError::TooManyRuns {
            found: runs,
            max: MAX_RUNS,
        });
    }
    Ok(())
}

fn receive_runs(
    from: &mut impl Read,
    ram_bytes: u64,
    hasher: &mut Hasher,
) -> Result<Vec<Run>, MemoryError> {
    let pages = table::pages(ram_bytes)?;
    let mut header = [0; HEADER];
    from.read_exact(&mut header).map_err(MemoryError::Stream)?;
    hasher.update(&header);
    let count = table::count(&header, ram_bytes)?;
    check_count(count)?;
    let mut entries = Vec::new();
    let wanted = ENTRY * count;
    from.take(wanted as u64)
        .read_to_end(&mut entries)
        .map_err(MemoryError::Stream)?;
    if entries.len() < wanted {
        return Err(MemoryError::Stream(
            std::io::ErrorKind::UnexpectedEof.into(),
        ));
    }
    hasher.update(&entries);
    let runs: Vec<Run> = entries.chunks_exact(ENTRY).map(table::decode).collect();
    run::check(&runs, pages)?;
    Ok(runs)
}

/// Writes those pages that are not zero, as many at a time as follow one another.
fn write_pages(file: &File, bytes: &[u8], at: u64) -> Result<(), MemoryError> {
    let pages: Vec<&[u8]> = bytes.chunks_exact(PAGE_SIZE as usize).collect();
    let is_zero = |page: &[u8]| page.iter().all(|&byte| byte == 0);
    let mut start = 0;
    for alike in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let end = start + alike.len() * PAGE_SIZE as usize;
        if !is_zero(alike[0]) {
            let offset = at + start as u64;
            file.write_all_at(&bytes[start..end], offset)
                .map_err(|source| MemoryError::WritePage {
                    page: offset / PAGE_SIZE,
                    source,
                })?;
        }
        start = end;
    }
    Ok(())
}
