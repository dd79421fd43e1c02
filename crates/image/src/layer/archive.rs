//! The tar format, read once from front to back: ustar, GNU and PAX, with their extensions for long names, big numbers,
//! extended attributes and sparse files.
//!
//! The `tar` crate knows the layout of a header. What it does above that is not enough here: it splits PAX records at
//! newlines, reads extended headers of any size into memory, rejects blank number fields, and knows only one of the
//! sparse formats. Where archivers disagree, this reader does what Go's `archive/tar` does, because that is what
//! every registry tool and engine unpacks images with.

mod input;
mod member;
mod number;
mod pax;
mod sparse;

use super::{EntryName, LayerError, MAX_EXTENSION_BYTES, Malformation, Refusal};
use crate::digest::Digest;
use input::{Input, InputError, RECORD};
pub(crate) use member::{FileLayout, Member, MemberKind};
use pax::Pax;
use std::io::Read;
use tar::Header;

/// An archive being read.
pub(crate) struct Archive<'a> {
    input: Input<'a>,
    /// Bytes of the current member's data not read yet.
    data_left: u64,
    padding: u64,
    /// Where the current member's header began.
    offset: u64,
    name: Vec<u8>,
}

/// What extensions say about the member that follows them.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl Extensions {
    const fn any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

impl<'a> Archive<'a> {
    /// An archive of at most `limit` bytes.
    pub(crate) fn new(source: &'a mut dyn Read, limit: u64) -> Self {
        Self {
            input: Input::new(source, limit),
            data_left: 0,
            padding: 0,
            offset: 0,
            name: Vec::new(),
        }
    }

    /// The next member, or `None` at the end of the archive. Skips what was not read of the one before.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, LayerError> {
        self.skip(self.data_left + self.padding)?;
        (self.data_left, self.padding) = (0, 0);
        let mut extensions = Extensions::default();
        loop {
            self.offset = self.input.position();
            let Some(record) = self.header_record()? else {
                return if extensions.any() {
                    Err(self.malformed(Malformation::LoneExtension))
                } else {
                    Ok(None)
                };
            };
            let header = Header::from_byte_slice(&record);
            self.name = header.path_bytes().into_owned();
            let size = self.number("size", &header.as_old().size)?;
            match header.as_old().linkflag[0] {
                b'x' => {
                    let content = self.extension(size)?;
                    extensions.pax =
                        Some(Pax::parse(&content).map_err(|reason| self.malformed(reason))?);
                }
                // Defaults for all members that follow. Engines ignore them (what `git archive` writes is a comment).
                b'g' => drop(self.extension(size)?),
                b'L' => extensions.long_name = Some(until_nul(self.extension(size)?)),
                b'K' => extensions.long_link = Some(until_nul(self.extension(size)?)),
                flag => return self.member(header, flag, size, extensions).map(Some),
            }
        }
    }

    /// Some bytes of the current file's stored data, at most `max`. The caller asks for no more than there is.
    pub(crate) fn data(&mut self, max: u64) -> Result<&[u8], LayerError> {
        let max = max.min(self.data_left);
        debug_assert!(max > 0, "the layout of a file says how much data it has");
        let (offset, name) = (self.offset, &self.name);
        let chunk = self
            .input
            .chunk(max)
            .map_err(|error| error.at(offset, name))?;
        self.data_left -= chunk.len() as u64;
        Ok(chunk)
    }

    /// Reads whatever follows the archive and tells the digest of the whole stream.
    pub(crate) fn finish(self) -> Result<Digest, LayerError> {
        let (offset, name) = (self.offset, self.name);
        self.input.drain().map_err(|error| error.at(offset, &name))
    }

    /// The error for the current member.
    pub(crate) fn refused(&self, reason: Refusal) -> LayerError {
        LayerError::Refused {
            entry: EntryName::new(&self.name),
            reason,
        }
    }

    const fn malformed(&self, reason: Malformation) -> LayerError {
        LayerError::Malformed {
            offset: self.offset,
            reason,
        }
    }

    /// A header whose checksum is right, or `None` at the end: two records of zeros, or simply no more bytes.
    fn header_record(&mut self) -> Result<Option<[u8; RECORD]>, LayerError> {
        const ZEROS: [u8; RECORD] = [0; RECORD];
        let Some(record) = self.record()? else {
            return Ok(None);
        };
        if record == ZEROS {
            return match self.record()? {
                None | Some(ZEROS) => Ok(None),
                Some(_) => Err(self.malformed(Malformation::LoneZeroBlock)),
            };
        }
        let stated = self.number("checksum", &Header::from_byte_slice(&record).as_old().cksum)?;
        if stated == checksum(&record, i64::from)
            || stated == checksum(&record, |byte| i64::from(byte as i8))
        {
            Ok(Some(record))
        } else {
            Err(self.malformed(Malformation::Checksum))
        }
    }

    fn extension(&mut self, size: i64) -> Result<Vec<u8>, LayerError> {
        let size = u64::try_from(size).map_err(|_| self.malformed(Malformation::Number("size")))?;
        if size > MAX_EXTENSION_BYTES {
            return Err(self.malformed(Malformation::ExtensionSize));
        }
        let content = self
            .input
            .bytes(size as usize)
            .map_err(|error| self.at(error))?;
        self.skip(padding(size))?;
        Ok(content)
    }

    fn number(&self, name: &'static str, field: &[u8]) -> Result<i64, LayerError> {
        number::field(name, field).map_err(|reason| self.malformed(reason))
    }

    fn record(&mut self) -> Result<Option<[u8; RECORD]>, LayerError> {
        self.input.record().map_err(|error| self.at(error))
    }

    fn skip(&mut self, len: u64) -> Result<(), LayerError> {
        self.input.skip(len).map_err(|error| self.at(error))
    }

    fn at(&self, error: InputError) -> LayerError {
        error.at(self.offset, &self.name)
    }
}

/// The sum over a header, its own field counted as blanks. Some old archivers summed signed bytes.
fn checksum(record: &[u8; RECORD], value: impl Fn(u8) -> i64) -> i64 {
    let byte = |(at, byte): (usize, &u8)| {
        value(if (148..156).contains(&at) {
            b' '
        } else {
            *byte
        })
    };
    record.iter().enumerate().map(byte).sum()
}

const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % RECORD as u64
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(len);
    bytes
}
