//! The archive around the entries: tar headers in one form only, in a zstd frame.

use super::Entry;
use super::error::ArchiveError;
use std::io::{self, BufReader, Read, Write};
use tar::{EntryType, Header};

/// Bytes of a header, and what entries are padded to.
const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
const END: [u8; 1024] = [0; 1024];
/// Snapshots are mostly written once and read once: speed counts for more than the last percent.
const LEVEL: i32 = 1;
/// The most a frame may make the reader remember: 8 MiB. Level 1 needs 512 KiB.
const WINDOW_LOG: u32 = 23;

/// The one header of an entry.
fn header(name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header
        .set_path(name)
        .expect("names of entries are short and plain");
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

const fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK) - size) as usize
}

/// Packs entries.
pub(super) struct Packer<W: Write> {
    to: zstd::Encoder<'static, W>,
}

impl<W: Write> Packer<W> {
    pub(super) fn new(to: W) -> Result<Self, ArchiveError> {
        let to = zstd::Encoder::new(to, LEVEL).map_err(cannot_write(Entry::Format))?;
        Ok(Self { to })
    }

    /// Packs an entry whose `size` bytes `fill` writes.
    pub(super) fn entry<T, E: From<ArchiveError>>(
        &mut self,
        entry: Entry,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = cannot_write(entry);
        self.to
            .write_all(header(entry.name(), size).as_bytes())
            .map_err(&failed)?;
        let filled = fill(&mut self.to)?;
        self.to.write_all(&END[..padding(size)]).map_err(&failed)?;
        Ok(filled)
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        self.to
            .write_all(&END)
            .and_then(|()| self.to.finish()?.flush())
            .map_err(cannot_write(Entry::Disk))
    }
}

pub(super) fn cannot_write(entry: Entry) -> impl Fn(io::Error) -> ArchiveError {
    let entry = entry.name();
    move |source| ArchiveError::Write { entry, source }
}

/// Unpacks entries, each in its turn.
pub(super) struct Unpacker<R: Read> {
    from: zstd::Decoder<'static, BufReader<R>>,
}

impl<R: Read> Unpacker<R> {
    pub(super) fn new(from: R) -> Result<Self, ArchiveError> {
        let mut from = zstd::Decoder::new(from).map_err(ArchiveError::Unknown)?;
        from.window_log_max(WINDOW_LOG)
            .map_err(ArchiveError::Unknown)?;
        Ok(Self { from })
    }

    /// Reads an entry with `consume`, which gets its bytes and their number and has to read all of them.
    pub(super) fn entry<T, E: From<ArchiveError>>(
        &mut self,
        entry: Entry,
        consume: impl FnOnce(&mut dyn Read, u64) -> Result<T, E>,
    ) -> Result<T, E> {
        let size = self.header(entry)?;
        let mut content = self.from.by_ref().take(size);
        let consumed = consume(&mut content, size)?;
        if content.limit() > 0 {
            let entry = entry.name();
            return Err(ArchiveError::Trailing { entry }.into());
        }
        self.zeros(entry, padding(size))?;
        Ok(consumed)
    }

    /// Checks that the archive ends here.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        self.zeros(Entry::Disk, END.len())?;
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(ArchiveError::Trailing {
                entry: Entry::Disk.name(),
            }),
            Err(error) => Err(cannot_read(Entry::Disk)(error)),
        }
    }

    /// Reads the header of an entry and gives the size of its content.
    fn header(&mut self, entry: Entry) -> Result<u64, ArchiveError> {
        let mut bytes = [0; BLOCK as usize];
        self.from
            .read_exact(&mut bytes)
            .map_err(|source| match entry {
                Entry::Format => ArchiveError::Unknown(source),
                _ => cannot_read(entry)(source),
            })?;
        let found = Header::from_byte_slice(&bytes);
        let name = String::from_utf8_lossy(&found.path_bytes()).into_owned();
        match (entry, name == entry.name()) {
            (_, true) => {}
            (Entry::Format, false) => return Err(ArchiveError::Foreign(name)),
            (_, false) => {
                return Err(ArchiveError::Order {
                    expected: entry.name(),
                    found: name,
                });
            }
        }
        // Whatever else a header can say, of links, devices or owners: ours do not.
        match found.entry_size() {
            Ok(size) if header(&name, size).as_bytes() == &bytes => Ok(size),
            _ => Err(ArchiveError::Header {
                entry: entry.name(),
            }),
        }
    }

    fn zeros(&mut self, entry: Entry, count: usize) -> Result<(), ArchiveError> {
        let mut bytes = END;
        let bytes = &mut bytes[..count];
        self.from.read_exact(bytes).map_err(cannot_read(entry))?;
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        let entry = entry.name();
        Err(ArchiveError::Trailing { entry })
    }
}

pub(super) fn cannot_read(entry: Entry) -> impl Fn(io::Error) -> ArchiveError {
    let entry = entry.name();
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated { entry },
        _ => ArchiveError::Read { entry, source },
    }
}
