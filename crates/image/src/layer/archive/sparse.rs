//! The three ways GNU tar describes a sparse file
//! ([GNU tar manual, "Storing Sparse Files"](https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html)).

use super::super::{LayerError, Malformation, Refusal};
use super::input::{Input, InputError, RECORD};
use super::number;
use super::pax::SparseRecords;

/// A stretch of a file that is in the archive; what lies between stretches is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// More stretches than this are no honest file: a map of 16 MiB.
const MAX_STRETCHES: usize = 1 << 20;

/// Why a map is not usable.
#[derive(Debug)]
pub(super) enum MapError {
    Input(InputError),
    Malformed(Malformation),
    Wrong,
}

impl MapError {
    pub(super) fn at(self, offset: u64, name: &[u8]) -> LayerError {
        let entry = super::super::EntryName::new(name);
        match self {
            Self::Input(error) => error.at(offset, name),
            Self::Malformed(reason) => LayerError::Malformed { offset, reason },
            Self::Wrong => LayerError::Refused {
                entry,
                reason: Refusal::SparseMap,
            },
        }
    }
}

impl From<InputError> for MapError {
    fn from(error: InputError) -> Self {
        Self::Input(error)
    }
}

impl From<Malformation> for MapError {
    fn from(error: Malformation) -> Self {
        Self::Malformed(error)
    }
}

/// Pairs up offsets and lengths and checks them against the file's length and the bytes stored for it.
pub(super) fn stretches(
    numbers: &[i64],
    real_size: u64,
    stored: u64,
) -> Result<Vec<Stretch>, MapError> {
    let (pairs, odd) = numbers.as_chunks::<2>();
    if !odd.is_empty() || pairs.len() > MAX_STRETCHES {
        return Err(MapError::Wrong);
    }
    let mut end = 0;
    let mut total = 0u64;
    let mut stretches = Vec::with_capacity(pairs.len());
    for [offset, len] in pairs {
        let (Ok(offset), Ok(len)) = (u64::try_from(*offset), u64::try_from(*len)) else {
            return Err(MapError::Wrong);
        };
        if offset < end || len > real_size || offset > real_size - len {
            return Err(MapError::Wrong);
        }
        (end, total) = (offset + len, total + len);
        if len > 0 {
            stretches.push(Stretch { offset, len });
        }
    }
    if total == stored {
        Ok(stretches)
    } else {
        Err(MapError::Wrong)
    }
}

/// The old GNU format (type `S`): four pairs in the header, the others in records of 21 that follow it.
pub(super) fn old_gnu_numbers(
    header: &tar::GnuHeader,
    input: &mut Input<'_>,
) -> Result<Vec<i64>, MapError> {
    let mut numbers = Vec::new();
    push_pairs(&header.sparse, &mut numbers)?;
    let mut more = header.isextended[0] != 0;
    while more {
        let record = input.record()?.ok_or(InputError::Ended)?;
        let mut extension = tar::GnuExtSparseHeader::new();
        extension.as_mut_bytes().copy_from_slice(&record);
        push_pairs(extension.sparse(), &mut numbers)?;
        more = extension.isextended[0] != 0;
        if numbers.len() > 2 * MAX_STRETCHES {
            return Err(MapError::Wrong);
        }
    }
    Ok(numbers)
}

fn push_pairs(pairs: &[tar::GnuSparseHeader], numbers: &mut Vec<i64>) -> Result<(), Malformation> {
    for pair in pairs
        .iter()
        .take_while(|pair| pair.offset[0] != 0 && pair.numbytes[0] != 0)
    {
        numbers.push(number::field("sparse offset", &pair.offset)?);
        numbers.push(number::field("sparse length", &pair.numbytes)?);
    }
    Ok(())
}

/// What PAX records say about a sparse file.
pub(super) enum PaxSparse {
    /// Nothing.
    No,
    /// 0.0 and 0.1: the map is in the records.
    InRecords,
    /// 1.0: the map is in front of the data.
    BeforeData,
}

/// Which of the formats the records are.
pub(super) fn pax_format(records: &SparseRecords) -> PaxSparse {
    match (records.major, records.minor) {
        (Some(1), Some(0)) => PaxSparse::BeforeData,
        _ if !records.numbers.is_empty() => PaxSparse::InRecords,
        _ => PaxSparse::No,
    }
}

/// Reads the map of format 1.0: a count, then that many pairs, one number a line, padded to a record.
///
/// Returns the numbers and how many bytes of the entry's data they took.
pub(super) fn leading_numbers(
    input: &mut Input<'_>,
    stored: u64,
) -> Result<(Vec<i64>, u64), MapError> {
    let mut reader = Lines {
        input,
        left: stored,
        taken: 0,
        record: [0; RECORD],
        at: RECORD,
    };
    let pairs = usize::try_from(reader.number()?)
        .ok()
        .filter(|pairs| *pairs <= MAX_STRETCHES)
        .ok_or(MapError::Wrong)?;
    let numbers = (0..2 * pairs)
        .map(|_| reader.number())
        .collect::<Result<_, _>>()?;
    Ok((numbers, reader.taken))
}

struct Lines<'a, 'b> {
    input: &'a mut Input<'b>,
    left: u64,
    taken: u64,
    record: [u8; RECORD],
    at: usize,
}

impl Lines<'_, '_> {
    fn number(&mut self) -> Result<i64, MapError> {
        let mut number = 0i64;
        for digits in 0.. {
            match self.byte()? {
                b'\n' if digits > 0 => break,
                digit @ b'0'..=b'9' => {
                    let sum = number
                        .checked_mul(10)
                        .and_then(|ten| ten.checked_add(i64::from(digit - b'0')));
                    number = sum.ok_or(MapError::Wrong)?;
                }
                _ => return Err(MapError::Wrong),
            }
        }
        Ok(number)
    }

    fn byte(&mut self) -> Result<u8, MapError> {
        if self.at == RECORD {
            self.left = self
                .left
                .checked_sub(RECORD as u64)
                .ok_or(MapError::Wrong)?;
            self.taken += RECORD as u64;
            self.record = self.input.record()?.ok_or(InputError::Ended)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.record[self.at - 1])
    }
}
