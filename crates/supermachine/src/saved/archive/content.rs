//! What is in the entries, and what a manifest may say of it.

use super::Entry;
use super::entry::{cannot_read, cannot_write};
use super::error::ArchiveError;
use crate::record::SCRATCH;
use crate::saved::disk::{PIECE, each_piece};
use crate::saved::error::failed;
use crate::saved::{SavedError, seal};
use ::snapshot::Digest;
use ::snapshot::disk::Layers;
use ::snapshot::manifest::{Kind, Manifest};
use proto::guest::disk;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The state of a machine has some 20 KiB for each vCPU and is held in memory.
pub(super) const MAX_STATE: u64 = 64 << 20;
/// 256 GiB, the most a VM can have.
const MAX_MEMORY_MIB: u32 = 256 << 10;
/// The limit of ext4 with blocks of 4 KiB.
const MAX_DISK: u64 = 16 << 40;
/// Zeros of this size are left holes.
const BLOCK: usize = 4096;
/// In front of each piece of the disk is its offset.
const OFFSET: u64 = size_of::<u64>() as u64;

// The format is frozen: another value of these is another FORMAT.
const _: () = assert!(PIECE == 64 << 10 && OFFSET == 8);

/// What a manifest says of the writable disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

/// Checks that a manifest is of a snapshot that builds upon nothing, with one writable disk.
pub(super) fn check(manifest: &Manifest) -> Result<Disk, ArchiveError> {
    let facts = |what| ArchiveError::Facts { what };
    if manifest.kind != Kind::Snapshot {
        return Err(facts("kind"));
    }
    if manifest.base.is_some() {
        return Err(facts("base"));
    }
    if manifest.memory_mib > MAX_MEMORY_MIB {
        return Err(facts("size of memory"));
    }
    if manifest.state.bytes > MAX_STATE {
        return Err(facts("size of the state"));
    }
    let mut disks = manifest.disks.iter().filter(|disk| !disk.files.is_empty());
    let (Some(scratch), None) = (disks.next(), disks.next()) else {
        return Err(facts("writable disk"));
    };
    // No other name: it is the name of a file that is about to be made.
    let fits = scratch.slot == disk::SCRATCH && scratch.files == [SCRATCH];
    if !fits || scratch.bytes > MAX_DISK {
        return Err(facts("writable disk"));
    }
    let digest = seal::disk_digest(manifest).ok_or_else(|| facts("digest of the disk"))?;
    Ok(Disk {
        bytes: scratch.bytes,
        digest,
    })
}

pub(super) fn compare(entry: Entry, found: Digest, expected: Digest) -> Result<(), ArchiveError> {
    if found == expected {
        return Ok(());
    }
    Err(ArchiveError::Digest {
        entry: entry.name(),
        found,
        expected,
    })
}

/// Bytes of a disk's entry.
pub(super) fn disk_bytes(disk: &Layers) -> Result<u64, SavedError> {
    let mut bytes = 0;
    each_piece(disk, Path::new(SCRATCH), |_, piece| {
        bytes += OFFSET + piece.len() as u64;
        Ok(())
    })?;
    Ok(bytes)
}

/// Writes offset and content of every piece that is not zero, and gives the digest of what was written.
pub(super) fn send_disk(
    disk: &Layers,
    expected: u64,
    to: &mut dyn Write,
) -> Result<Digest, SavedError> {
    let failed = cannot_write(Entry::Disk);
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    each_piece(disk, Path::new(SCRATCH), |at, piece| {
        for part in [&at.to_le_bytes(), piece] {
            hasher.update(part);
            to.write_all(part).map_err(&failed)?;
            bytes += part.len() as u64;
        }
        Ok(())
    })?;
    if bytes != expected {
        return Err(ArchiveError::Size {
            entry: SCRATCH,
            found: bytes,
            expected,
        }
        .into());
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Fills an empty file of the disk's length with the pieces of a disk, and gives the digest of what was read.
pub(super) fn receive_disk(
    from: &mut dyn Read,
    size: u64,
    file: &File,
    path: &Path,
) -> Result<Digest, SavedError> {
    let disk_bytes = file.metadata().map_err(failed("look at", path))?.len();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; PIECE as usize];
    let (mut left, mut next) = (size, 0);
    while left > 0 {
        let mut offset = [0; OFFSET as usize];
        from.read_exact(&mut offset)
            .map_err(cannot_read(Entry::Disk))?;
        hasher.update(offset);
        let offset = u64::from_le_bytes(offset);
        if !offset.is_multiple_of(PIECE) || offset < next || offset >= disk_bytes {
            return Err(ArchiveError::Piece { offset }.into());
        }
        let piece = &mut buffer[..(disk_bytes - offset).min(PIECE) as usize];
        from.read_exact(piece).map_err(cannot_read(Entry::Disk))?;
        if piece.iter().all(|&byte| byte == 0) {
            return Err(ArchiveError::Piece { offset }.into());
        }
        hasher.update(&*piece);
        write_blocks(file, piece, offset).map_err(failed("write", path))?;
        next = offset + PIECE;
        left = left.saturating_sub(OFFSET + piece.len() as u64);
    }
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Writes what is not zero.
fn write_blocks(file: &File, piece: &[u8], offset: u64) -> io::Result<()> {
    for (block, at) in piece.chunks(BLOCK).zip((offset..).step_by(BLOCK)) {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, at)?;
        }
    }
    Ok(())
}
