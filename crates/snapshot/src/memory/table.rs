//! Where the bytes of a table of runs are. All numbers are little-endian; offsets are from the end of guest RAM.
//!
//! ```text
//! 0        8   magic
//! 8        4   version of the format
//! 12       4   number of runs R
//! 16       8   bytes of guest RAM
//! 24     16*R  the runs, in order: 8 bytes number of the first page; 8 bytes number of pages, and in the highest
//!              bit 1 if they are zero, 0 if they are in the file
//! 24+16*R  32  SHA-256 of the table so far
//! ```
//!
//! The file ends there.

use super::error::MemoryError;
use super::run::{self, PAGE_SIZE, Run, RunKind};
use crate::Digest;
use std::fs::File;
use std::os::unix::fs::FileExt;

pub(super) const MAGIC: [u8; 8] = *b"SM-PAGES";
pub(super) const FORMAT: u32 = 1;
pub(super) const HEADER: usize = 24;
pub(super) const ENTRY: usize = 16;
const ZERO: u64 = 1 << 63;

// The format is frozen: another value of any of these is another FORMAT.
const _: () = assert!(FORMAT == 1 && HEADER == 24 && ENTRY == 16 && PAGE_SIZE == 4096);

/// Writes the table of runs at `ram_bytes`, behind guest RAM, and ends the file there.
///
/// Runs that touch and are alike are written as one.
pub fn write_runs(file: &File, ram_bytes: u64, runs: &[Run]) -> Result<(), MemoryError> {
    let runs = run::join(runs);
    run::check(&runs, pages(ram_bytes)?)?;
    let mut table = encode(ram_bytes, &runs);
    table.extend(Digest::of(&table).as_bytes());
    file.write_all_at(&table, ram_bytes)
        .and_then(|()| file.set_len(ram_bytes + table.len() as u64))
        .map_err(MemoryError::Write)
}

/// Reads the table of runs behind `ram_bytes` of guest RAM and checks that it is whole, in order and inside RAM, and
/// that the file ends with it.
pub fn read_runs(file: &File, ram_bytes: u64) -> Result<Vec<Run>, MemoryError> {
    let pages = pages(ram_bytes)?;
    let size = file.metadata().map_err(MemoryError::Size)?.len();
    let least = ram_bytes.saturating_add((HEADER + Digest::LEN) as u64);
    if size < least {
        return Err(MemoryError::Truncated {
            needed: least,
            found: size,
        });
    }
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, ram_bytes)
        .map_err(MemoryError::Read)?;
    let count = count(&header, ram_bytes)?;
    // No more than 64 GiB, so it cannot overflow; and no more than the file has, before it is allocated.
    let length = HEADER + ENTRY * count + Digest::LEN;
    let needed = ram_bytes.saturating_add(length as u64);
    if size != needed {
        return Err(MemoryError::FileSize {
            needed,
            found: size,
        });
    }
    let mut table = vec![0; length];
    file.read_exact_at(&mut table, ram_bytes)
        .map_err(MemoryError::Read)?;
    let (table, seal) = table.split_at(length - Digest::LEN);
    if Digest::of(table).as_bytes() != seal {
        return Err(MemoryError::Damaged);
    }
    let runs: Vec<Run> = table[HEADER..].chunks_exact(ENTRY).map(decode).collect();
    run::check(&runs, pages)?;
    Ok(runs)
}

/// The table without its digest.
pub(super) fn encode(ram_bytes: u64, runs: &[Run]) -> Vec<u8> {
    let mut table = Vec::with_capacity(HEADER + ENTRY * runs.len() + Digest::LEN);
    table.extend(MAGIC);
    table.extend(FORMAT.to_le_bytes());
    let count = u32::try_from(runs.len()).expect("2^32 runs are more than 16 TiB of memory");
    table.extend(count.to_le_bytes());
    table.extend(ram_bytes.to_le_bytes());
    for run in runs {
        let kind = match run.kind {
            RunKind::Data => 0,
            RunKind::Zero => ZERO,
        };
        table.extend(run.first.to_le_bytes());
        table.extend((run.pages | kind).to_le_bytes());
    }
    table
}

pub(super) fn decode(entry: &[u8]) -> Run {
    let pages = word(&entry[8..]);
    Run {
        first: word(entry),
        pages: pages & !ZERO,
        kind: if pages & ZERO == 0 {
            RunKind::Data
        } else {
            RunKind::Zero
        },
    }
}

/// The number of runs, if the header is ours and of this memory.
pub(super) fn count(header: &[u8; HEADER], ram_bytes: u64) -> Result<usize, MemoryError> {
    if header[..8] != MAGIC {
        let mut found = [0; 8];
        found.copy_from_slice(&header[..8]);
        return Err(MemoryError::Magic { ram_bytes, found });
    }
    let [format, count] = [8, 12].map(|at| word(&header[at..]) as u32);
    if format != FORMAT {
        return Err(MemoryError::Format { found: format });
    }
    match word(&header[16..]) {
        found if found != ram_bytes => Err(MemoryError::RamBytes { ram_bytes, found }),
        _ => Ok(count as usize),
    }
}

fn word(bytes: &[u8]) -> u64 {
    let first: &[u8; 8] = bytes.first_chunk().expect("a field is inside its entry");
    u64::from_le_bytes(*first)
}

/// Pages of guest RAM.
pub(super) fn pages(ram_bytes: u64) -> Result<u64, MemoryError> {
    if ram_bytes.is_multiple_of(PAGE_SIZE) {
        return Ok(ram_bytes / PAGE_SIZE);
    }
    Err(MemoryError::Unaligned { ram_bytes })
}
