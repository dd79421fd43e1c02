//! The tar format, read once from front to back: ustar, GNU and PAX, with their extensions for long names, big numbers,
//! extended attributes and sparse files.
//!
//! The `tar` crate knows the layout of a header. What it does above that is not enough here: it splits PAX records at
//! newlines, reads extended headers of any size into memory, rejects blank number fields, and knows only one of the
//! sparse formats. Where archivers disagree, this reader does what Go's `archive/tar` does, because that is what
//! every registry tool and engine unpacks images with.

mod input;
mod number;
mod pax;
mod sparse;

use super::attributes::{Attributes, Timestamp};
use super::index::DeviceNumber;
use super::{EntryName, LayerError, MAX_EXTENSION_BYTES, Malformation, Refusal};
use crate::digest::Digest;
use input::{Input, InputError, RECORD};
use pax::Pax;
use sparse::PaxSparse;
pub(crate) use sparse::Stretch;
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

/// A member of an archive, its extensions applied.
#[derive(Debug)]
pub(crate) struct Member {
    /// As spelled.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: MemberKind,
    pub(crate) attributes: Attributes,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File(FileLayout),
    /// A further name of the member of this name, as spelled.
    Hardlink(Vec<u8>),
    Symlink(Vec<u8>),
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Directory,
    Fifo,
}

/// How a file's bytes are stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileLayout {
    pub(crate) size: u64,
    /// In order, not overlapping, inside of `size`; the data of a plain file is one stretch.
    pub(crate) stretches: Vec<Stretch>,
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

    fn member(
        &mut self,
        header: &Header,
        flag: u8,
        size: i64,
        ext: Extensions,
    ) -> Result<Member, LayerError> {
        let old = header.as_old();
        let pax = ext.pax.unwrap_or_default();
        // The order of precedence is Go's.
        let name = pax
            .sparse
            .name
            .as_ref()
            .or(ext.long_name.as_ref())
            .or(pax.path.as_ref());
        self.name = name.map_or_else(|| header.path_bytes().into_owned(), Clone::clone);
        let attributes = self.attributes(header, &pax)?;
        let link = || {
            let plain = || header.link_name_bytes().unwrap_or_default().into_owned();
            ext.long_link
                .clone()
                .or_else(|| pax.linkpath.clone())
                .unwrap_or_else(plain)
        };
        let kind = match flag {
            // BSD's way to write a directory, from before there was a type for it.
            0 | b'0' if self.name.ends_with(b"/") => MemberKind::Directory,
            0 | b'0' | b'7' | b'S' => MemberKind::File(self.file_layout(header, flag, size, &pax)?),
            b'1' => MemberKind::Hardlink(link()),
            b'2' => MemberKind::Symlink(link()),
            b'3' => MemberKind::CharDevice(self.device(header)?),
            b'4' => MemberKind::BlockDevice(self.device(header)?),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            _ => return Err(self.refused(Refusal::Type(old.linkflag[0]))),
        };
        Ok(Member {
            name: self.name.clone(),
            kind,
            attributes,
        })
    }

    fn attributes(&self, header: &Header, pax: &Pax) -> Result<Attributes, LayerError> {
        let old = header.as_old();
        let id = |name, field: &[u8], record: Option<i64>| {
            let number = record.map_or_else(|| self.number(name, field), Ok)?;
            u32::try_from(number).map_err(|_| self.refused(Refusal::Id(number)))
        };
        let seconds = self.number("mtime", &old.mtime)?;
        Ok(Attributes {
            mode: (self.number("mode", &old.mode)? & 0o7777) as u16,
            uid: id("uid", &old.uid, pax.uid)?,
            gid: id("gid", &old.gid, pax.gid)?,
            mtime: pax.mtime.unwrap_or(Timestamp {
                seconds,
                nanoseconds: 0,
            }),
            xattrs: pax.xattrs().map_err(|reason| self.refused(reason))?,
        })
    }

    fn device(&self, header: &Header) -> Result<DeviceNumber, LayerError> {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(ustar), _) => (ustar.dev_major, ustar.dev_minor),
            (None, Some(gnu)) => (gnu.dev_major, gnu.dev_minor),
            (None, None) => ([0; 8], [0; 8]),
        };
        let (major, minor) = (
            self.number("devmajor", &major)?,
            self.number("devminor", &minor)?,
        );
        DeviceNumber::new(major, minor)
            .ok_or_else(|| self.refused(Refusal::DeviceNumber(major, minor)))
    }

    fn file_layout(
        &mut self,
        header: &Header,
        flag: u8,
        size: i64,
        pax: &Pax,
    ) -> Result<FileLayout, LayerError> {
        let stored = self.size(pax.size.unwrap_or(size))?;
        (self.data_left, self.padding) = (stored, padding(stored));
        let (numbers, real_size) = match (flag, sparse::pax_format(&pax.sparse)) {
            (b'S', _) => {
                let gnu = header
                    .as_gnu()
                    .ok_or_else(|| self.refused(Refusal::SparseMap))?;
                let real_size = self.number("realsize", &gnu.realsize)?;
                // The rest of the map comes before the data.
                let numbers = sparse::old_gnu_numbers(gnu, &mut self.input);
                (
                    numbers.map_err(|error| error.at(self.offset, &self.name))?,
                    real_size,
                )
            }
            (_, PaxSparse::BeforeData) => {
                let (numbers, taken) = sparse::leading_numbers(&mut self.input, stored)
                    .map_err(|error| error.at(self.offset, &self.name))?;
                self.data_left -= taken;
                (numbers, pax.sparse.real_size.unwrap_or(-1))
            }
            (_, PaxSparse::InRecords) => (
                pax.sparse.numbers.clone(),
                pax.sparse.real_size.unwrap_or(-1),
            ),
            (_, PaxSparse::No) => (vec![0, stored.cast_signed()], stored.cast_signed()),
        };
        let size = self.size(real_size)?;
        let stretches = sparse::stretches(&numbers, size, self.data_left);
        Ok(FileLayout {
            size,
            stretches: stretches.map_err(|error| error.at(self.offset, &self.name))?,
        })
    }

    fn size(&self, number: i64) -> Result<u64, LayerError> {
        u64::try_from(number).map_err(|_| self.refused(Refusal::Size(number)))
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
