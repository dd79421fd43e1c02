//! Writing a layer's data: whole blocks, zeros after the end of each file, holes where there are only zeros.

use super::BLOCK_SIZE;
use super::index::Extent;
use crate::digest::Hasher;
use crate::fsutil::{Context, FsError};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = BLOCK_SIZE as usize;
static ZERO_BLOCK: [u8; BLOCK] = [0; BLOCK];

/// Small files are gathered so that a write is a megabyte, whatever the archive is made of.
const BUFFER: usize = 1 << 20;

/// Appends files to a layer's data.
#[derive(Debug)]
pub(crate) struct DataWriter {
    file: File,
    path: PathBuf,
    /// What is not on disk yet, from `base` on.
    buffer: Vec<u8>,
    base: u64,
    /// Where the current file began.
    start: u64,
    checksum: u32,
    hasher: Option<Hasher>,
}

impl DataWriter {
    /// Writes to an empty file. The hasher sees each block that is not zero, its number first: the same for the same
    /// data, wherever the source had holes.
    pub(crate) fn new(file: File, path: &Path, hasher: Option<Hasher>) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self {
            file,
            path: path.to_owned(),
            buffer,
            base: 0,
            start: 0,
            checksum: 0,
            hasher,
        }
    }

    /// Where the next byte goes; between files, the length of the data so far.
    pub(crate) const fn position(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Adds bytes to the current file.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), FsError> {
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        while !bytes.is_empty() {
            if self.buffer.len() == BUFFER {
                self.flush()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Adds zeros to the current file, in constant time and space however many.
    pub(crate) fn skip(&mut self, len: u64) -> Result<(), FsError> {
        self.checksum = append_zeros(self.checksum, len);
        let end = self.position() + len;
        if end > self.base + BUFFER as u64 {
            // The rest of the last block is part of the zeros, which reach beyond the buffer.
            self.buffer
                .resize(self.buffer.len().next_multiple_of(BLOCK), 0);
            self.flush()?;
            self.base = end - end % BLOCK_SIZE;
        }
        self.buffer.resize((end - self.base) as usize, 0);
        Ok(())
    }

    /// Ends the current file and begins the next at a new block.
    pub(crate) fn finish_file(&mut self) -> Result<Extent, FsError> {
        let size = self.position() - self.start;
        self.skip(size.wrapping_neg() % BLOCK_SIZE)?;
        let extent = Extent {
            offset: self.start,
            size,
            checksum: self.checksum,
        };
        (self.start, self.checksum) = (self.position(), 0);
        Ok(extent)
    }

    /// Writes what is left and makes it durable. Returns the length of the data.
    pub(crate) fn finish(mut self) -> Result<(u64, Option<Hasher>), FsError> {
        self.flush()?;
        self.file.set_len(self.base).context("write", &self.path)?;
        self.file.sync_all().context("sync", &self.path)?;
        Ok((self.base, self.hasher))
    }

    /// Writes the buffer, which ends at a block, but for its blocks of zeros.
    fn flush(&mut self) -> Result<(), FsError> {
        let mut at = 0;
        while at < self.buffer.len() {
            let is_zero = |block: &[u8]| block == &ZERO_BLOCK[..block.len()];
            let mut blocks = self.buffer[at..].chunks(BLOCK);
            let full: usize = blocks
                .by_ref()
                .take_while(|block| !is_zero(block))
                .map(<[u8]>::len)
                .sum();
            let run = &self.buffer[at..at + full];
            let offset = self.base + at as u64;
            self.file
                .write_all_at(run, offset)
                .context("write", &self.path)?;
            if let Some(hasher) = &mut self.hasher {
                for (block, number) in run.chunks(BLOCK).zip(offset / BLOCK_SIZE..) {
                    hasher.update(&number.to_le_bytes());
                    hasher.update(block);
                }
            }
            // take_while() has consumed the block of zeros that ended the run, if one did.
            at += (full + BLOCK).min(self.buffer.len() - at);
        }
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// The checksum of what `checksum` is of, followed by zeros.
pub(crate) fn append_zeros(checksum: u32, len: u64) -> u32 {
    // A run of zeros begins with the inverted register, so its own checksum is needed; both cost log(len).
    match usize::try_from(len) {
        Ok(len) if len <= BLOCK => crc32c::crc32c_append(checksum, &ZERO_BLOCK[..len]),
        Ok(len) => crc32c::crc32c_combine(checksum, zeros(len), len),
        Err(_) => unreachable!("hosts with KVM have 64-bit addresses"),
    }
}

/// The checksum of `len` zeros, by doubling.
fn zeros(len: usize) -> u32 {
    let half = if len > 1 { zeros(len / 2) } else { 0 };
    let even = crc32c::crc32c_combine(half, half, len / 2);
    if len % 2 == 1 {
        crc32c::crc32c_append(even, &[0])
    } else {
        even
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// A file as given to the writer: bytes, or a count of zeros.
    enum Part<'a> {
        Bytes(&'a [u8]),
        Zeros(u64),
    }

    fn write(files: &[&[Part<'_>]]) -> (Vec<Extent>, Vec<u8>, u64) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = DataWriter::new(file.reopen().unwrap(), file.path(), None);
        let mut extents = Vec::new();
        for parts in files {
            for part in *parts {
                match part {
                    Part::Bytes(bytes) => writer.write(bytes).unwrap(),
                    Part::Zeros(len) => writer.skip(*len).unwrap(),
                }
            }
            extents.push(writer.finish_file().unwrap());
        }
        let (len, _) = writer.finish().unwrap();
        let data = std::fs::read(file.path()).unwrap();
        assert_eq!(data.len() as u64, len);
        let used = file.as_file().metadata().unwrap().blocks() * 512;
        (extents, data, used)
    }

    #[test]
    fn files_begin_at_blocks_and_end_in_zeros() {
        let big: Vec<u8> = (0..3_000_001u32)
            .map(|number| (number % 251) as u8 + 1)
            .collect();
        let parts = [
            &[][..],
            &[Part::Bytes(b"x")],
            &[Part::Bytes(&big)],
            &[Part::Bytes(&big[..4096])],
        ];
        let (extents, data, _) = write(&parts);
        let offsets: Vec<_> = extents
            .iter()
            .map(|extent| (extent.offset, extent.size))
            .collect();
        let after_big = 4096 + 3_000_001u64.next_multiple_of(4096);
        assert_eq!(
            offsets,
            [(0, 0), (0, 1), (4096, 3_000_001), (after_big, 4096)]
        );
        assert_eq!(data[0], b'x');
        assert!(data[1..4096].iter().all(|byte| *byte == 0));
        assert_eq!(data[4096..4096 + big.len()], big);
        assert!(
            data[4096 + big.len()..after_big as usize]
                .iter()
                .all(|byte| *byte == 0)
        );
        for extent in extents {
            let stored = &data[extent.offset as usize..(extent.offset + extent.padded()) as usize];
            assert_eq!(crc32c::crc32c(stored), extent.checksum);
        }
    }

    #[test]
    fn zeros_take_no_space_and_count_in_the_checksum() {
        let (extents, data, used) = write(&[
            &[
                Part::Bytes(b"ab"),
                Part::Zeros(8_000_000),
                Part::Bytes(b"cd"),
                Part::Zeros(9_000_001),
            ],
            &[Part::Bytes(&vec![0; 2_000_000])],
            &[Part::Zeros(10_000_000)],
        ]);
        assert_eq!(extents[0].size, 17_000_005);
        let stored = &data[..extents[0].padded() as usize];
        assert_eq!(
            (&stored[..2], &stored[8_000_002..8_000_004]),
            (&b"ab"[..], &b"cd"[..])
        );
        for extent in &extents {
            let stored = &data[extent.offset as usize..(extent.offset + extent.padded()) as usize];
            assert_eq!(crc32c::crc32c(stored), extent.checksum);
        }
        assert!(
            used <= 2 * 4096,
            "{used} bytes on disk for two blocks of data"
        );
    }
}
