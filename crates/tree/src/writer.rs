//! Writing an archive.

use crate::error::{At, Doing, TreeError};
use crate::member::{Kind, Member};
use crate::pax;
use crate::sparse::{self, Range};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
const ZEROS: [u8; 1024] = [0; 1024];
/// Read from a file at a time.
const CHUNK: usize = 128 << 10;

/// Writes an archive, entry by entry.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// To a stream.
    pub fn new(to: W) -> Self {
        Self {
            to,
            buffer: vec![0; CHUNK],
        }
    }

    /// An entry that has no contents.
    pub fn entry(&mut self, member: &Member) -> Result<(), TreeError> {
        self.headers(member, 0, Vec::new())
    }

    /// A regular file: as many bytes as `len` says, zeros where the file turns out shorter.
    pub fn file(&mut self, member: &Member, len: u64, file: &mut File) -> Result<(), TreeError> {
        match sparse::ranges(file, len).at(Doing::Read, &member.path)? {
            None => {
                self.headers(member, len, Vec::new())?;
                self.copy(member, file, 0, len)?;
                self.pad(len)
            }
            Some(ranges) => self.holes(member, len, &ranges, file),
        }
    }

    fn holes(
        &mut self,
        member: &Member,
        len: u64,
        ranges: &[Range],
        file: &mut File,
    ) -> Result<(), TreeError> {
        let map = sparse::map(ranges);
        let size = map.len() as u64 + ranges.iter().map(|(_, len)| len).sum::<u64>();
        let mut records = Vec::new();
        pax::push(&mut records, b"GNU.sparse.major", b"1");
        pax::push(&mut records, b"GNU.sparse.minor", b"0");
        pax::push(&mut records, b"GNU.sparse.name", &member.path);
        pax::push(
            &mut records,
            b"GNU.sparse.realsize",
            len.to_string().as_bytes(),
        );
        self.headers(member, size, records)?;
        self.write(&map)?;
        for &(start, len) in ranges {
            self.copy(member, file, start, len)?;
        }
        self.pad(size)
    }

    /// Ends the archive and gives the stream back.
    pub fn finish(mut self) -> Result<W, TreeError> {
        self.write(&ZEROS)?;
        self.to
            .flush()
            .map_err(|error| TreeError::Stream(Doing::Write, error))?;
        Ok(self.to)
    }

    fn headers(
        &mut self,
        member: &Member,
        size: u64,
        mut records: Vec<u8>,
    ) -> Result<(), TreeError> {
        let mut header = Header::new_ustar();
        set_kind(&mut header, member, &mut records);
        if !fits(&mut header, &member.path) {
            pax::push(&mut records, b"path", &member.path);
        }
        header.set_mode(member.mode & 0o7777);
        set_number(&mut records, b"uid", member.uid.into(), |n| {
            header.set_uid(n);
        });
        set_number(&mut records, b"gid", member.gid.into(), |n| {
            header.set_gid(n);
        });
        if size < 1 << 33 {
            header.set_size(size);
        } else {
            header.set_size(0);
            pax::push(&mut records, b"size", size.to_string().as_bytes());
        }
        let seconds = u64::try_from(member.mtime.seconds)
            .ok()
            .filter(|&s| s < 1 << 33);
        header.set_mtime(seconds.unwrap_or(0));
        if seconds.is_none() || member.mtime.nanos != 0 {
            pax::push(
                &mut records,
                b"mtime",
                pax::time_text(member.mtime).as_bytes(),
            );
        }
        for (name, value) in &member.xattrs {
            pax::push(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            self.extension(&records)?;
        }
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn extension(&mut self, records: &[u8]) -> Result<(), TreeError> {
        let mut header = Header::new_ustar();
        fits(&mut header, b"@PaxHeader");
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(records)?;
        self.pad(records.len() as u64)
    }

    fn copy(
        &mut self,
        member: &Member,
        file: &mut File,
        start: u64,
        len: u64,
    ) -> Result<(), TreeError> {
        file.seek(SeekFrom::Start(start))
            .at(Doing::Read, &member.path)?;
        let mut left = len;
        while left > 0 {
            let want = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let mut count = file
                .read(&mut self.buffer[..want])
                .at(Doing::Read, &member.path)?;
            if count == 0 {
                // It has become shorter meanwhile; the header has been sent.
                self.buffer[..want].fill(0);
                count = want;
            }
            self.to
                .write_all(&self.buffer[..count])
                .map_err(|error| TreeError::Stream(Doing::Write, error))?;
            left -= count as u64;
        }
        Ok(())
    }

    fn pad(&mut self, len: u64) -> Result<(), TreeError> {
        self.write(&ZEROS[..(len.next_multiple_of(BLOCK) - len) as usize])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        self.to
            .write_all(bytes)
            .map_err(|error| TreeError::Stream(Doing::Write, error))
    }
}

/// Puts the name into the header, cut off if need be. Whether it was not.
fn fits(header: &mut Header, path: &[u8]) -> bool {
    let room = &mut header.as_old_mut().name;
    let len = path.len().min(room.len());
    room[..len].copy_from_slice(&path[..len]);
    // Others may read a name that is no ASCII in their own way; pax says what it is.
    len == path.len() && path.is_ascii()
}

fn set_kind(header: &mut Header, member: &Member, records: &mut Vec<u8>) {
    let mut link = |header: &mut Header, target: &[u8]| {
        let room = &mut header.as_old_mut().linkname;
        let len = target.len().min(room.len());
        room[..len].copy_from_slice(&target[..len]);
        if len < target.len() || !target.is_ascii() {
            pax::push(records, b"linkpath", target);
        }
    };
    let kind = match &member.kind {
        Kind::File(_) => EntryType::Regular,
        Kind::Directory => EntryType::Directory,
        Kind::Symlink(target) => {
            link(header, target);
            EntryType::Symlink
        }
        Kind::HardLink(target) => {
            link(header, target);
            EntryType::Link
        }
        Kind::Fifo => EntryType::Fifo,
        Kind::CharDevice(..) => EntryType::Char,
        Kind::BlockDevice(..) => EntryType::Block,
    };
    header.set_entry_type(kind);
    if let Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) = member.kind {
        let set = header
            .set_device_major(major)
            .and_then(|()| header.set_device_minor(minor));
        set.expect("the header is ustar's, which has these fields");
    }
}

/// Numbers the field has no room for go into a record.
fn set_number(records: &mut Vec<u8>, key: &[u8], number: u64, set: impl FnOnce(u64)) {
    if number < 1 << 21 {
        set(number);
    } else {
        set(0);
        pax::push(records, key, number.to_string().as_bytes());
    }
}
