//! Reading an archive that anybody may have written.

use crate::error::{Doing, TreeError, shown};
use crate::member::{Kind, Member, Time};
use crate::pax;
use crate::sparse::{self, Range};
use std::io::{self, ErrorKind, Read};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// The most a header that only carries names may have.
const MAX_EXTENSION: u64 = 1 << 20;

/// Reads an archive, entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    /// Bytes of the current entry that have not been read, without the padding.
    left: u64,
    padding: u64,
    /// Where they belong, if the file has holes.
    ranges: Option<Vec<Range>>,
}

/// What headers in front of an entry say about it.
#[derive(Debug, Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_version: [Option<u64>; 2],
    real_size: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// From a stream.
    pub const fn new(from: R) -> Self {
        Self {
            from,
            left: 0,
            padding: 0,
            ranges: None,
        }
    }

    /// The next entry. What is left of the last one's contents is skipped.
    pub fn next_member(&mut self) -> Result<Option<Member>, TreeError> {
        self.skip()?;
        let mut extra = Extra::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let size = header
                .entry_size()
                .map_err(|_| TreeError::Malformed("a size that is no number"))?;
            self.expect(size)?;
            match header.entry_type() {
                EntryType::XHeader => extra.take_records(&self.extension()?)?,
                EntryType::XGlobalHeader => self.skip()?,
                EntryType::GNULongName => extra.path = Some(without_nul(self.extension()?)),
                EntryType::GNULongLink => extra.link = Some(without_nul(self.extension()?)),
                _ => return self.member(&header, extra).map(Some),
            }
        }
    }

    /// The ranges of the current entry's file, if it has holes. What [`Read`] gives is these, one after the other.
    pub fn ranges(&self) -> Option<&[Range]> {
        self.ranges.as_deref()
    }

    /// Reads to the end of the stream, so that whoever writes it is not cut off. Errors do not matter any more.
    pub fn drain(&mut self) {
        let _ = io::copy(&mut self.from, &mut io::sink());
    }

    fn member(&mut self, header: &Header, extra: Extra) -> Result<Member, TreeError> {
        let number = |result: io::Result<u64>| {
            result.map_err(|_| TreeError::Malformed("a field that is no number"))
        };
        let path = extra
            .path
            .clone()
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            extra
                .link
                .clone()
                .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned())
        };
        let id = |said: Option<u64>, field| {
            u32::try_from(said.map_or_else(|| number(field), Ok)?)
                .map_err(|_| TreeError::Malformed("an owner beyond 32 bits"))
        };
        if let Some(size) = extra.size {
            self.expect(size)?;
        }
        let device = || {
            let field = |result: io::Result<Option<u32>>| {
                result
                    .ok()
                    .flatten()
                    .ok_or(TreeError::Malformed("a device without numbers"))
            };
            Ok((field(header.device_major())?, field(header.device_minor())?))
        };
        let kind = match header.entry_type() {
            // Old archives know no directories but by their names.
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File(self.find_holes(&extra)?),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(link()),
            EntryType::Link => Kind::HardLink(link()),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => device().map(|(major, minor)| Kind::CharDevice(major, minor))?,
            EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
            other => {
                return Err(TreeError::UnknownKind {
                    path: shown(&path),
                    kind: other.as_byte().into(),
                });
            }
        };
        Ok(Member {
            mode: header
                .mode()
                .map_err(|_| TreeError::Malformed("a mode that is no number"))?
                & 0o7777,
            uid: id(extra.uid, header.uid())?,
            gid: id(extra.gid, header.gid())?,
            mtime: match extra.mtime {
                Some(time) => time,
                None => Time {
                    seconds: i64::try_from(number(header.mtime())?)
                        .map_err(|_| TreeError::Malformed("a time beyond 64 bits"))?,
                    nanos: 0,
                },
            },
            xattrs: extra.xattrs,
            path,
            kind,
        })
    }

    /// The length of the file, with its holes.
    fn find_holes(&mut self, extra: &Extra) -> Result<u64, TreeError> {
        match (extra.sparse_version, extra.real_size) {
            ([None, None], None) => Ok(self.left),
            ([Some(1), Some(0)], Some(real)) => {
                let (ranges, left) = sparse::read_map(&mut self.from, self.left, real)?;
                self.ranges = Some(ranges);
                self.left = left;
                Ok(real)
            }
            _ => Err(TreeError::Malformed(
                "a sparse file in another format than GNU's 1.0",
            )),
        }
    }

    fn expect(&mut self, size: u64) -> Result<(), TreeError> {
        let padded = size
            .checked_next_multiple_of(BLOCK)
            .ok_or(TreeError::Malformed("an impossible size"))?;
        (self.left, self.padding, self.ranges) = (size, padded - size, None);
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, TreeError> {
        let mut header = Header::new_old();
        // An archive that just ends where an entry could begin is complete enough for every tar there is; ours are not
        // written that way, so it is one that was cut off.
        fill(&mut self.from, header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|&byte| u32::from(byte))
            .sum::<u32>()
            + 8 * 32;
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(TreeError::Malformed("a header with a wrong checksum")),
        }
    }

    fn extension(&mut self) -> Result<Vec<u8>, TreeError> {
        if self.left > MAX_EXTENSION {
            return Err(TreeError::HeaderTooLong(self.left));
        }
        let mut bytes = vec![0; self.left as usize];
        fill(&mut self.from, &mut bytes)?;
        self.left = 0;
        self.skip()?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), TreeError> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.from).take(rest), &mut io::sink())
            .map_err(|error| TreeError::Stream(Doing::Read, error))?;
        if skipped < rest {
            return Err(TreeError::CutShort);
        }
        (self.left, self.padding, self.ranges) = (0, 0, None);
        Ok(())
    }
}

/// The contents of the current entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Fills the buffer or says that the archive is cut short.
pub(crate) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<(), TreeError> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => TreeError::CutShort,
        _ => TreeError::Stream(Doing::Read, error),
    })
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

impl Extra {
    fn take_records(&mut self, records: &[u8]) -> Result<(), TreeError> {
        let number = |value| {
            pax::number(value).ok_or(TreeError::Malformed("a pax record that is no number"))
        };
        for (key, value) in pax::parse(records)? {
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"GNU.sparse.name" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value)?),
                b"uid" => self.uid = Some(number(value)?),
                b"gid" => self.gid = Some(number(value)?),
                b"mtime" => {
                    self.mtime =
                        Some(pax::time(value).ok_or(TreeError::Malformed("a time that is none"))?);
                }
                b"GNU.sparse.major" => self.sparse_version[0] = Some(number(value)?),
                b"GNU.sparse.minor" => self.sparse_version[1] = Some(number(value)?),
                b"GNU.sparse.realsize" => self.real_size = Some(number(value)?),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}
