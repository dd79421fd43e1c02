//! Files with holes.

use crate::TreeError;
use crate::pax;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};

/// A range of a file that is no hole: where it starts and how long it is.
pub type Range = (u64, u64);

/// The most ranges a file may have: their list is held in memory.
const MAX_RANGES: u64 = 1 << 20;

/// The ranges of a file of this length, or `None` if it has no hole worth the name.
pub fn ranges(file: &File, len: u64) -> io::Result<Option<Vec<Range>>> {
    let (mut found, mut data, mut end) = (Vec::new(), 0, 0);
    while end < len {
        let start = match seek(file, SeekFrom::Data(end)) {
            Ok(start) if start < len => start,
            Ok(_) | Err(Errno::NXIO) => break,
            // Not every file system can tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        end = seek(file, SeekFrom::Hole(start))?.min(len);
        found.push((start, end - start));
        data += end - start;
        if found.len() as u64 == MAX_RANGES {
            return Ok(None);
        }
    }
    // GNU tar learns the length of a file that ends in a hole from an empty range at its end.
    found.push((len, 0));
    Ok((data < len).then_some(found))
}

/// The list of ranges as GNU's format 1.0 puts it in front of the data, padded to whole blocks.
pub fn map(ranges: &[Range]) -> Vec<u8> {
    let mut text = format!("{}\n", ranges.len());
    for (start, len) in ranges {
        text.push_str(&format!("{start}\n{len}\n"));
    }
    let mut map = text.into_bytes();
    map.resize(map.len().next_multiple_of(512), 0);
    map
}

/// Reads that list back from an entry of `size` bytes that describes a file of `real` bytes. Also says how much of the
/// entry is left.
pub fn read_map(
    from: &mut impl Read,
    size: u64,
    real: u64,
) -> Result<(Vec<Range>, u64), TreeError> {
    const DAMAGED: TreeError = TreeError::Malformed("a damaged map of a sparse file");
    let mut numbers = Numbers {
        from,
        block: [0; 512],
        at: 512,
        left: size,
    };
    let count = numbers.next()?;
    if count > MAX_RANGES {
        return Err(DAMAGED);
    }
    let (mut ranges, mut end, mut data) = (Vec::new(), 0_u64, 0_u64);
    for _ in 0..count {
        let (start, len) = (numbers.next()?, numbers.next()?);
        let next = start
            .checked_add(len)
            .filter(|&next| next <= real)
            .ok_or(DAMAGED)?;
        if start < end {
            return Err(DAMAGED);
        }
        end = next;
        data += len;
        ranges.push((start, len));
    }
    if data == numbers.left {
        Ok((ranges, data))
    } else {
        Err(DAMAGED)
    }
}

struct Numbers<'a, R> {
    from: &'a mut R,
    block: [u8; 512],
    at: usize,
    left: u64,
}

impl<R: Read> Numbers<'_, R> {
    fn next(&mut self) -> Result<u64, TreeError> {
        const DAMAGED: TreeError = TreeError::Malformed("a damaged map of a sparse file");
        let mut digits = Vec::new();
        loop {
            if self.at == self.block.len() {
                self.left = self.left.checked_sub(512).ok_or(DAMAGED)?;
                crate::reader::fill(self.from, &mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                return pax::number(&digits)
                    .filter(|_| !digits.is_empty())
                    .ok_or(DAMAGED);
            }
            digits.push(byte);
            if digits.len() > 20 {
                return Err(DAMAGED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_comes_back_however_long_it_is() {
        for count in [0, 1, 100] {
            let ranges: Vec<Range> = (0..count).map(|n| (n * 1_000_000, 4096)).collect();
            let map = map(&ranges);
            let size = map.len() as u64 + count * 4096;
            let read = read_map(&mut &map[..], size, 1 << 40).unwrap();
            assert_eq!(read, (ranges, count * 4096));
        }
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (text, size, real) in [
            ("1\n0\n10\n", 512 + 11, 100),
            ("1\n95\n10\n", 512 + 10, 100),
            ("2\n50\n10\n0\n10\n", 512 + 20, 100),
            ("99999999999\n", 512, 100),
            ("1\n18446744073709551615\n10\n", 512 + 10, 100),
            ("x\n", 512, 100),
        ] {
            let mut block = text.as_bytes().to_vec();
            block.resize(512, 0);
            assert!(read_map(&mut &block[..], size, real).is_err(), "{text:?}");
        }
    }
}
