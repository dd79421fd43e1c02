//! A writable disk that lies upon others: files of one size, the lowest first.
//!
//! Where a layer has a hole, the layer below shows through; where all have one, the disk is zero. Which blocks a layer
//! has is what the file system says of its holes, so there is no table that could disagree with the data, and after a
//! crash a block is either what was written or what it was before. [`tells_holes`] finds out whether the file system
//! of a directory tells them as exactly as that needs.

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(test)]
mod tests;

/// Bytes that belong to one layer as a whole.
pub const BLOCK: u64 = 4096;

/// The most layers a disk can have.
pub const MAX_LAYERS: usize = 255;

/// Blocks of a part of the map, which takes no memory while nobody has any of them: 16 MiB of disk.
const PART: usize = 4096;

/// Which layer has each block of a disk.
#[derive(Debug, Clone)]
pub struct LayerMap {
    /// A layer's number and 1, or 0 where nobody has the block.
    parts: Vec<Option<Box<[u8; PART]>>>,
}

impl LayerMap {
    /// Asks the file system which of the blocks of a disk of `bytes` each of `layers` has.
    ///
    /// # Errors
    /// More than [`MAX_LAYERS`], or a file whose holes cannot be told.
    pub fn scan<'a>(layers: impl IntoIterator<Item = &'a File>, bytes: u64) -> io::Result<Self> {
        let parts = bytes.div_ceil(BLOCK * PART as u64) as usize;
        let mut map = Self {
            parts: vec![None; parts],
        };
        for (number, file) in layers.into_iter().enumerate() {
            map.add(file, number, bytes)?;
        }
        Ok(map)
    }

    /// Lays one more layer, of this number, upon a disk of `bytes`.
    pub fn add(&mut self, file: &File, number: usize, bytes: u64) -> io::Result<()> {
        if number >= MAX_LAYERS {
            return Err(io::Error::other("a disk of too many layers"));
        }
        let mut at = 0;
        while let Some(data) = next_data(file, at)? {
            if data.start >= bytes {
                break;
            }
            at = data.end;
            let blocks = data.start / BLOCK..data.end.min(bytes).div_ceil(BLOCK);
            self.give(blocks, number);
        }
        Ok(())
    }

    /// The layer that has a block.
    pub fn owner(&self, block: u64) -> Option<usize> {
        let part = self.parts.get(block as usize / PART)?.as_ref()?;
        usize::from(part[block as usize % PART]).checked_sub(1)
    }

    /// Gives blocks to a layer.
    pub fn give(&mut self, blocks: Range<u64>, layer: usize) {
        self.set(blocks, layer as u8 + 1);
    }

    /// Notes that nobody has these blocks.
    pub fn clear(&mut self, blocks: Range<u64>) {
        self.set(blocks, 0);
    }

    fn set(&mut self, blocks: Range<u64>, value: u8) {
        for block in blocks {
            let Some(part) = self.parts.get_mut(block as usize / PART) else {
                return;
            };
            if part.is_none() && value == 0 {
                continue;
            }
            part.get_or_insert_with(|| Box::new([0; PART]))[block as usize % PART] = value;
        }
    }

    /// The longest stretch of `bytes`, from their start, that belongs to one layer, or to nobody; and to whom.
    pub fn stretch(&self, bytes: Range<u64>) -> (Range<u64>, Option<usize>) {
        let first = bytes.start / BLOCK;
        let owner = self.owner(first);
        let mut block = first + 1;
        while block * BLOCK < bytes.end && self.owner(block) == owner {
            let part = block as usize / PART;
            // Most of most disks.
            let nobody = self.parts.get(part).is_some_and(Option::is_none);
            block = if nobody {
                (part as u64 + 1) * PART as u64
            } else {
                block + 1
            };
        }
        (bytes.start..(block * BLOCK).min(bytes.end), owner)
    }
}

/// The next stretch of a file from `at` on that is no hole.
fn next_data(file: &File, at: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    Ok(Some(start..seek(file, SeekFrom::Hole(start))?))
}

/// Whether the file system of `dir` tells the holes of a file block by block, before and after they are punched.
pub fn tells_holes(dir: &Path) -> io::Result<bool> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?);
    file.set_len(16 * BLOCK)?;
    for block in [3, 5, 6] {
        file.write_all_at(&[1; BLOCK as usize], block * BLOCK)?;
    }
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if fallocate(&file, punch, 6 * BLOCK, BLOCK).is_err() {
        return Ok(false);
    }
    let exact = [3 * BLOCK..4 * BLOCK, 5 * BLOCK..6 * BLOCK].map(Some);
    let found = [next_data(&file, 0)?, next_data(&file, 4 * BLOCK)?];
    Ok(found == exact && next_data(&file, 6 * BLOCK)?.is_none())
}

/// Files of one size as the disk they make, for reading.
#[derive(Debug)]
pub struct Layers {
    files: Vec<File>,
    map: LayerMap,
    bytes: u64,
}

impl Layers {
    /// A disk of the size of its files, the lowest first.
    pub fn new(files: Vec<File>) -> io::Result<Self> {
        let mut bytes = 0;
        for (number, file) in files.iter().enumerate() {
            let size = file.metadata()?.len();
            if number > 0 && size != bytes {
                return Err(io::Error::other("layers of a disk differ in size"));
            }
            bytes = size;
        }
        let map = LayerMap::scan(&files, bytes)?;
        Ok(Self { files, map, bytes })
    }

    /// Its size.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next stretch from `at` on in which some layer has data. It may have blocks of zeros.
    pub fn next_data(&self, at: u64) -> Option<Range<u64>> {
        let mut rest = at..self.bytes;
        while !rest.is_empty() {
            match self.map.stretch(rest.clone()) {
                (hole, None) => rest.start = hole.end,
                (data, Some(_)) => return Some(data),
            }
        }
        None
    }

    /// Fills `buffer` with what stands at `offset`, all of which is on the disk.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        let mut at = offset;
        while at < end {
            let (part, owner) = self.map.stretch(at..end);
            let bytes = &mut buffer[(part.start - offset) as usize..(part.end - offset) as usize];
            match owner {
                Some(layer) => self.files[layer].read_exact_at(bytes, part.start)?,
                None => bytes.fill(0),
            }
            at = part.end;
        }
        Ok(())
    }

    /// Copies its blocks into an empty file, so that it is the disk in one layer.
    pub fn merge_into(&self, target: &File) -> io::Result<()> {
        target.set_len(self.bytes)?;
        let mut at = 0;
        while let Some(data) = self.next_data(at) {
            at = data.end;
            if let (_, Some(layer)) = self.map.stretch(data.clone()) {
                copy(&self.files[layer], target, data)?;
            }
        }
        Ok(())
    }
}

fn copy(source: &File, target: &File, bytes: Range<u64>) -> io::Result<()> {
    let (mut from, mut to) = (bytes.start, bytes.start);
    while from < bytes.end {
        let left = (bytes.end - from) as usize;
        if rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
