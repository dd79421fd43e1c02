//! A disk that lies upon others, which stay as they are: files of one size, the last of which is written.
//!
//! What counts as a layer's is [`snapshot::disk`]'s to say: a block whose place in a file is no hole. So whatever is
//! written here covers whole blocks of the top file, zeros included.

use super::backend::{Backend, SECTOR_SIZE};
use super::disk::{DiskError, Flushes, Piece, transfer};
use super::file::{DiskFile, Scratch};
use crate::virtio::buffers::{Buffers, Slice};
use rustix::fs::FallocateFlags;
use snapshot::disk::{BLOCK, LayerMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// Files, one upon the other, shown as one disk.
#[derive(Debug)]
pub struct LayeredDisk<F = File> {
    /// The lowest first.
    below: Vec<F>,
    top: F,
    /// Who has each block.
    map: LayerMap,
    /// Who would, were it not for the top.
    below_map: LayerMap,
    bytes: u64,
    scratch: Scratch,
    flushes: Flushes,
    below_is_durable: bool,
}

impl<F: DiskFile> LayeredDisk<F> {
    /// The disk that `layers` make, the lowest first, all of them of one length. Only the last is written.
    ///
    /// # Errors
    /// No layer, one that is not as long as it should be, or one whose holes cannot be told.
    pub fn new(layers: impl IntoIterator<Item = Piece<F>>) -> Result<Self, DiskError> {
        let mut below = Vec::new();
        let mut bytes = 0;
        for (index, Piece { file, len }) in layers.into_iter().enumerate() {
            let metadata = file.file().metadata();
            let metadata = metadata.map_err(|source| DiskError::Metadata { index, source })?;
            let actual = metadata.len();
            match index {
                0 if !len.is_multiple_of(SECTOR_SIZE) => {
                    return Err(DiskError::Unaligned { index, len });
                }
                0 => bytes = len,
                _ if len != bytes => return Err(DiskError::Uneven { index, len, bytes }),
                _ => {}
            }
            if actual < len {
                return Err(DiskError::Short { index, len, actual });
            }
            below.push(file);
        }
        let top = below.pop().ok_or(DiskError::NoLayer)?;
        let layers = below.iter().map(DiskFile::file);
        let below_map = LayerMap::scan(layers, bytes).map_err(DiskError::Holes)?;
        let mut map = below_map.clone();
        map.add(top.file(), below.len(), bytes)
            .map_err(DiskError::Holes)?;
        Ok(Self {
            below,
            top,
            map,
            below_map,
            bytes,
            scratch: Scratch::default(),
            flushes: Flushes::Honored,
            below_is_durable: false,
        })
    }

    /// The same disk for a guest that does not outlive it, as [`super::FileDisk::ignoring_flushes`].
    #[must_use]
    pub const fn ignoring_flushes(mut self) -> Self {
        self.flushes = Flushes::Ignored;
        self
    }

    const fn top_layer(&self) -> usize {
        self.below.len()
    }

    /// A block's bytes, of which only the last block of a disk may have fewer.
    fn bytes_of(&self, block: u64) -> Range<u64> {
        block * BLOCK..((block + 1) * BLOCK).min(self.bytes)
    }

    /// Lifts a block to the top before a part of it is written.
    fn lift(&mut self, block: u64) -> io::Result<()> {
        let owner = self.map.owner(block);
        if owner == Some(self.top_layer()) {
            return Ok(());
        }
        let place = self.bytes_of(block);
        let mut content = ZEROS;
        let content = &mut content[..(place.end - place.start) as usize];
        if let Some(layer) = owner {
            self.below[layer]
                .file()
                .read_exact_at(content, place.start)?;
        }
        self.top.file().write_all_at(content, place.start)?;
        self.map.give(block..block + 1, self.top_layer());
        Ok(())
    }

    /// Lifts the blocks that a write of these bytes covers in part.
    fn lift_edges(&mut self, bytes: &Range<u64>) -> io::Result<()> {
        for edge in [bytes.start, bytes.end] {
            // The end of the disk is the end of a block.
            if !edge.is_multiple_of(BLOCK) && edge != self.bytes {
                self.lift(edge / BLOCK)?;
            }
        }
        Ok(())
    }

    /// The blocks these bytes touch.
    const fn blocks(bytes: &Range<u64>) -> Range<u64> {
        bytes.start / BLOCK..bytes.end.div_ceil(BLOCK)
    }

    fn write_zeros(&mut self, bytes: Range<u64>) -> io::Result<()> {
        self.lift_edges(&bytes)?;
        let mut at = bytes.start;
        while at < bytes.end {
            let len = (bytes.end - at).min(BLOCK) as usize;
            self.top.file().write_all_at(&ZEROS[..len], at)?;
            at += len as u64;
        }
        self.map.give(Self::blocks(&bytes), self.top_layer());
        Ok(())
    }

    /// Makes a hole in the top, of whole blocks.
    fn punch(&self, bytes: &Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let len = bytes.end - bytes.start;
        Ok(rustix::fs::fallocate(
            self.top.file(),
            flags,
            bytes.start,
            len,
        )?)
    }

    /// The whole blocks inside of a range.
    fn whole(&self, bytes: &Range<u64>) -> Range<u64> {
        let end = if bytes.end == self.bytes {
            bytes.end
        } else {
            bytes.end / BLOCK * BLOCK
        };
        let start = bytes
            .start
            .next_multiple_of(BLOCK)
            .min(end.max(bytes.start));
        start..end.max(start)
    }

    /// Makes bytes zero below which there is nothing: by a hole.
    fn zero_by_hole(&mut self, bytes: Range<u64>) -> io::Result<()> {
        let whole = self.whole(&bytes);
        if !whole.is_empty() {
            self.punch(&whole)?;
            self.map.clear(Self::blocks(&whole));
        }
        for edge in [
            bytes.start..whole.start.min(bytes.end),
            whole.end..bytes.end,
        ] {
            if !edge.is_empty() && self.map.owner(edge.start / BLOCK).is_some() {
                self.write_zeros(edge)?;
            }
        }
        Ok(())
    }
}

impl<F: DiskFile> Backend for LayeredDisk<F> {
    fn size(&self) -> u64 {
        self.bytes
    }

    fn read_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()> {
        let mut rest: Buffers<'_> = buffers.iter().copied().collect();
        let mut at = offset;
        while !rest.is_empty() {
            let (part, owner) = self.map.stretch(at..at + rest.len() as u64);
            let after = rest.split_off((part.end - part.start) as usize);
            let file = match owner {
                Some(layer) => self.below.get(layer).unwrap_or(&self.top),
                None => {
                    zero(rest.slices());
                    (at, rest) = (part.end, after);
                    continue;
                }
            };
            let scratch = &mut self.scratch;
            transfer(rest.slices(), at, |buffers, offset| {
                match file.read_vectored_at(buffers, offset, scratch)? {
                    0 => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "a file of the disk was cut short",
                    )),
                    len => Ok(len),
                }
            })?;
            (at, rest) = (part.end, after);
        }
        Ok(())
    }

    fn write_at(&mut self, buffers: &[Slice<'_>], offset: u64) -> io::Result<()> {
        let len: u64 = buffers.iter().map(|slice| slice.len() as u64).sum();
        let bytes = offset..offset + len;
        self.lift_edges(&bytes)?;
        let (top, scratch) = (&self.top, &mut self.scratch);
        transfer(buffers, offset, |buffers, offset| {
            match top.write_vectored_at(buffers, offset, scratch)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                len => Ok(len),
            }
        })?;
        self.map.give(Self::blocks(&bytes), self.top_layer());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.flushes == Flushes::Ignored {
            return Ok(());
        }
        if !self.below_is_durable {
            self.below
                .iter()
                .try_for_each(|file| file.file().sync_data())?;
            self.below_is_durable = true;
        }
        self.top.file().sync_data()
    }

    fn punch_hole(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let mut rest = offset..offset + len;
        while !rest.is_empty() {
            let (part, hidden) = self.below_map.stretch(rest.clone());
            rest.start = part.end;
            match hidden {
                None => self.zero_by_hole(part)?,
                // A hole would show it.
                Some(_) => self.write_zeros(part)?,
            }
        }
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let mut rest = self.whole(&(offset..offset + len));
        while !rest.is_empty() {
            let (part, owner) = self.map.stretch(rest.clone());
            rest.start = part.end;
            if owner != Some(self.top_layer()) {
                continue;
            }
            self.punch(&part)?;
            for block in Self::blocks(&part) {
                match self.below_map.owner(block) {
                    Some(layer) => self.map.give(block..block + 1, layer),
                    None => self.map.clear(block..block + 1),
                }
            }
        }
        Ok(())
    }
}

fn zero(buffers: &[Slice<'_>]) {
    for slice in buffers {
        let mut done = 0;
        while let Some(rest) = slice.offset(done).ok().filter(|rest| !rest.is_empty()) {
            let len = rest.len().min(ZEROS.len());
            rest.copy_from(&ZEROS[..len]);
            done += len;
        }
    }
}
