//! A disk that is the concatenation of files.

use super::backend::{Backend, SECTOR_SIZE};
use super::file::{DiskFile, Scratch};
use crate::virtio::buffers::{Buffers, Slice};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;

/// One file of a disk, and how many of its bytes (from its start) belong to the disk.
#[derive(Debug)]
pub struct Piece<F = File> {
    /// The file.
    pub file: F,
    /// Its share, a multiple of [`SECTOR_SIZE`]. The file may be longer.
    pub len: u64,
}

/// Why files do not make a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A share that is no whole number of sectors.
    #[error("piece {index} contributes {len} bytes, which is not a multiple of {SECTOR_SIZE}")]
    Unaligned {
        /// Which piece, from 0.
        index: usize,
        /// Its share.
        len: u64,
    },
    /// A share larger than the file.
    #[error("piece {index} contributes {len} bytes but its file has only {actual}")]
    Short {
        /// Which piece, from 0.
        index: usize,
        /// Its share.
        len: u64,
        /// The size of the file.
        actual: u64,
    },
    /// The size of a file is unknown.
    #[error("the size of piece {index} cannot be read")]
    Metadata {
        /// Which piece, from 0.
        index: usize,
        /// What the host said.
        source: io::Error,
    },
    /// A layer of another length than the lowest.
    #[error("layer {index} has {len} bytes and the lowest {bytes}")]
    Uneven {
        /// Which layer, from 0.
        index: usize,
        /// Its length.
        len: u64,
        /// That of the lowest.
        bytes: u64,
    },
    /// A layered disk without a file.
    #[error("a layered disk has at least one layer")]
    NoLayer,
    /// Which parts of a file are holes is unknown.
    #[error("the holes of a disk's layers cannot be told")]
    Holes(#[source] io::Error),
    /// The pieces make more than 2^63 bytes.
    #[error("the disk is larger than any file can be")]
    TooLarge,
}

/// Files, one after the other, shown as one disk.
#[derive(Debug)]
pub struct FileDisk<F = File> {
    files: Vec<F>,
    /// Where on the disk each file's share ends.
    ends: Vec<u64>,
    scratch: Scratch,
    flushes: Flushes,
}

/// Whether a guest's flush reaches the host's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushes {
    Honored,
    Ignored,
}

impl<F: DiskFile> FileDisk<F> {
    /// The concatenation of `pieces`. Pieces without a byte are left out.
    ///
    /// # Errors
    /// A share that is not whole sectors, or that its regular file does not have.
    pub fn new(pieces: impl IntoIterator<Item = Piece<F>>) -> Result<Self, DiskError> {
        let mut disk = Self {
            files: Vec::new(),
            ends: Vec::new(),
            scratch: Scratch::default(),
            flushes: Flushes::Honored,
        };
        for (index, Piece { file, len }) in pieces.into_iter().enumerate() {
            if !len.is_multiple_of(SECTOR_SIZE) {
                return Err(DiskError::Unaligned { index, len });
            }
            let metadata = file
                .file()
                .metadata()
                .map_err(|source| DiskError::Metadata { index, source })?;
            if metadata.is_file() && metadata.len() < len {
                return Err(DiskError::Short {
                    index,
                    len,
                    actual: metadata.len(),
                });
            }
            let end = disk
                .size()
                .checked_add(len)
                .filter(|&end| end <= i64::MAX as u64);
            let end = end.ok_or(DiskError::TooLarge)?;
            if len > 0 {
                disk.files.push(file);
                disk.ends.push(end);
            }
        }
        Ok(disk)
    }

    /// The same disk for a guest that does not outlive it: there is nothing a flush could protect, and each
    /// costs a write to the host's disk (70 ms were measured at the end of a VM).
    #[must_use]
    pub const fn ignoring_flushes(mut self) -> Self {
        self.flushes = Flushes::Ignored;
        self
    }

    /// Splits `buffers`, which belong at `offset`, at the borders between files, and calls `step` with each
    /// file, the offset inside it, and its part of the buffers.
    fn each_file(
        &mut self,
        buffers: &[Slice<'_>],
        mut offset: u64,
        step: impl Fn(&F, u64, &[Slice<'_>], &mut Scratch) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut len: u64 = buffers.iter().map(|slice| slice.len() as u64).sum();
        let mut index = self.ends.partition_point(|&end| end <= offset);
        let mut rest = None;
        while len > 0 {
            let (Some(file), Some(&end)) = (self.files.get(index), self.ends.get(index)) else {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "past the end of the disk",
                ));
            };
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            let share = len.min(end - offset);
            if rest.is_none() && share == len {
                // Nearly every request: all of it is in one file.
                return step(file, offset - start, buffers, &mut self.scratch);
            }
            let mut part: Buffers<'_> = rest
                .take()
                .unwrap_or_else(|| buffers.iter().copied().collect());
            let after = part.split_off(usize::try_from(share).unwrap_or(usize::MAX));
            step(file, offset - start, part.slices(), &mut self.scratch)?;
            rest = Some(after);
            offset += share;
            len -= share;
            index += 1;
        }
        Ok(())
    }
}

impl<F: DiskFile> Backend for FileDisk<F> {
    fn size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn read_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()> {
        self.each_file(buffers, offset, |file, offset, buffers, scratch| {
            transfer(buffers, offset, |buffers, offset| {
                match file.read_vectored_at(buffers, offset, scratch)? {
                    0 => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a file of the disk was cut short",
                    )),
                    len => Ok(len),
                }
            })
        })
    }

    fn write_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()> {
        self.each_file(buffers, offset, |file, offset, buffers, scratch| {
            transfer(buffers, offset, |buffers, offset| {
                match file.write_vectored_at(buffers, offset, scratch)? {
                    0 => Err(io::ErrorKind::WriteZero.into()),
                    len => Ok(len),
                }
            })
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.flushes == Flushes::Ignored {
            return Ok(());
        }
        self.files
            .iter()
            .try_for_each(|file| file.file().sync_data())
    }

    fn punch_hole(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset + len;
        let mut start = 0;
        for (file, &file_end) in self.files.iter().zip(&self.ends) {
            let (from, to) = (offset.max(start), end.min(file_end));
            if from < to {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(file.file(), flags, from - start, to - from)?;
            }
            start = file_end;
        }
        Ok(())
    }
}

/// Repeats `once` until all of `buffers` went through.
pub(super) fn transfer(
    buffers: &[Slice<'_>],
    mut offset: u64,
    mut once: impl FnMut(&[Slice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    let total: usize = buffers.iter().map(|slice| slice.len()).sum();
    let mut done = 0;
    let mut rest: Option<Buffers<'_>> = None;
    while done < total {
        let part = rest.as_ref().map_or(buffers, |rest| rest.slices());
        let step = match once(part, offset) {
            Ok(step) => step,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        done += step;
        offset += step as u64;
        if done < total {
            let mut before: Buffers<'_> = rest
                .take()
                .unwrap_or_else(|| buffers.iter().copied().collect());
            rest = Some(before.split_off(step));
        }
    }
    Ok(())
}
