//! From an archive to a tree beneath a directory.

use crate::error::{At, Doing, TreeError, shown};
use crate::member::{Kind, Member};
use crate::reader::Reader;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags, chmodat, chownat, fsetxattr, linkat, makedev, mkdirat, mknodat, openat, openat2,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Written to a file at a time.
const CHUNK: usize = 128 << 10;

/// Whose the files become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Whoever unpacks; set-user-id and set-group-id are left out.
    Ours,
    /// As the archive says.
    Kept,
}

/// What becomes of device nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// They are made.
    Made,
    /// They are an error: the archive comes from somebody who is not to have any here.
    Refused,
}

/// Unpacks archives beneath a directory.
#[derive(Debug)]
pub struct Unpacker {
    root: OwnedFd,
    /// The one name at the top that may be made; all of them otherwise.
    only: Option<Vec<u8>>,
    owners: Owners,
    devices: Devices,
    limit: u64,
}

impl Unpacker {
    /// Beneath an open directory.
    pub const fn new(root: OwnedFd, owners: Owners, devices: Devices) -> Self {
        Self {
            root,
            only: None,
            owners,
            devices,
            limit: u64::MAX,
        }
    }

    /// Makes nothing but what has this name, and what is below it.
    #[must_use]
    pub fn only(mut self, name: Vec<u8>) -> Self {
        self.only = Some(name);
        self
    }

    /// Writes at most this many bytes of contents.
    #[must_use]
    pub const fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Unpacks a whole archive, and reads the stream to its end.
    pub fn unpack(&self, from: impl Read) -> Result<(), TreeError> {
        let mut reader = Reader::new(from);
        let mut work = Work {
            to: self,
            parent: None,
            open: Vec::new(),
            written: 0,
            buffer: vec![0; CHUNK],
        };
        while let Some(member) = reader.next_member()? {
            work.make(&member, &mut reader)?;
        }
        work.close_all()?;
        reader.drain();
        Ok(())
    }
}

struct Work<'a> {
    to: &'a Unpacker,
    /// The directory of the last entry: the next one is mostly in the same.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories whose contents may still come, which changes their times.
    open: Vec<Member>,
    written: u64,
    buffer: Vec<u8>,
}

impl Work<'_> {
    fn make<R: Read>(&mut self, member: &Member, reader: &mut Reader<R>) -> Result<(), TreeError> {
        let path = clean(&member.path)?;
        self.check_asked_for(&path)?;
        self.close_all_but_parents(&path)?;
        let Some((parent, name)) = split(&path) else {
            // The directory itself: it was there before the archive.
            return Ok(());
        };
        let dir = self.enter(parent)?;
        match &member.kind {
            Kind::Directory => self.directory(dir, name, &path, member)?,
            kind => {
                clear(dir.as_fd(), name, &path)?;
                self.other(dir.as_fd(), name, &path, member, kind, reader)?;
                self.parent = Some((parent.to_vec(), dir));
            }
        }
        Ok(())
    }

    fn check_asked_for(&self, path: &[u8]) -> Result<(), TreeError> {
        let Some(only) = &self.to.only else {
            return Ok(());
        };
        let first = path.split(|&byte| byte == b'/').next().unwrap_or_default();
        if first == only.as_slice() {
            return Ok(());
        }
        Err(TreeError::NotAskedFor {
            found: shown(path),
            wanted: shown(only),
        })
    }

    /// The directory at `path` beneath the root, through no symbolic link, made where missing.
    fn enter(&mut self, path: &[u8]) -> Result<OwnedFd, TreeError> {
        if let Some((last, dir)) = self.parent.take()
            && last == path
        {
            return Ok(dir);
        }
        match open_beneath(self.to.root.as_fd(), path) {
            Err(Errno::NOENT) => {}
            // A link, or no directory at all.
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                return Err(TreeError::DirectoryOverOther(shown(path)));
            }
            other => return other.at(Doing::Open, path),
        }
        let (above, name) = split(path).ok_or_else(|| TreeError::Escapes(shown(path)))?;
        let dir = self.enter(above)?;
        match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at(Doing::Make, path),
        }
        open_beneath(dir.as_fd(), name).at(Doing::Open, path)
    }

    fn directory(
        &mut self,
        dir: OwnedFd,
        name: &[u8],
        path: &[u8],
        member: &Member,
    ) -> Result<(), TreeError> {
        match mkdirat(&dir, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).at(Doing::Look, path)?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    return Err(TreeError::DirectoryOverOther(shown(path)));
                }
            }
            Err(errno) => return Err(errno).at(Doing::Make, path),
        }
        self.open.push(Member {
            path: path.to_vec(),
            ..member.clone()
        });
        Ok(())
    }

    fn other<R: Read>(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        member: &Member,
        kind: &Kind,
        reader: &mut Reader<R>,
    ) -> Result<(), TreeError> {
        match kind {
            Kind::File(len) => {
                let file = self.file(dir, name, path, *len, reader)?;
                self.furnish(dir, name, path, member, Some(&file))?;
                return Ok(());
            }
            Kind::Symlink(target) => {
                symlinkat(&target[..], dir, name).at(Doing::Make, path)?;
            }
            Kind::HardLink(target) => return self.hard_link(dir, name, path, target),
            Kind::Fifo => make_node(dir, name, FileType::Fifo, 0).at(Doing::Make, path)?,
            Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
                if self.to.devices == Devices::Refused {
                    return Err(TreeError::Device(shown(path)));
                }
                let file_type = match kind {
                    Kind::CharDevice(..) => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                make_node(dir, name, file_type, makedev(*major, *minor)).at(Doing::Make, path)?;
            }
            Kind::Directory => unreachable!("directories are made elsewhere"),
        }
        self.furnish(dir, name, path, member, None)
    }

    fn file<R: Read>(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        len: u64,
        reader: &mut Reader<R>,
    ) -> Result<OwnedFd, TreeError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, name, flags, Mode::from_raw_mode(0o600)).at(Doing::Make, path)?;
        let mut file = File::from(file);
        let ranges = reader.ranges().map(<[_]>::to_vec);
        for (start, len) in ranges.as_deref().unwrap_or(&[(0, len)]) {
            if ranges.is_some() {
                file.seek(SeekFrom::Start(*start)).at(Doing::Write, path)?;
            }
            self.copy(&mut file, path, *len, reader)?;
        }
        if ranges.is_some() {
            file.set_len(len).at(Doing::Write, path)?;
        }
        Ok(file.into())
    }

    fn copy<R: Read>(
        &mut self,
        file: &mut File,
        path: &[u8],
        len: u64,
        reader: &mut Reader<R>,
    ) -> Result<(), TreeError> {
        self.written = self.written.saturating_add(len);
        if self.written > self.to.limit {
            return Err(TreeError::TooBig(self.to.limit));
        }
        let mut left = len;
        while left > 0 {
            let want = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
            let count = match reader.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(TreeError::CutShort),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(TreeError::CutShort);
                }
                Err(error) => return Err(TreeError::Stream(Doing::Read, error)),
            };
            file.write_all(&self.buffer[..count])
                .at(Doing::Write, path)?;
            left -= count as u64;
        }
        Ok(())
    }

    fn hard_link(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        target: &[u8],
    ) -> Result<(), TreeError> {
        let target = clean(target)?;
        self.check_asked_for(&target)?;
        let (above, first) = split(&target).ok_or_else(|| TreeError::Escapes(shown(&target)))?;
        let from = open_beneath(self.to.root.as_fd(), above).at(Doing::Open, &target)?;
        linkat(&from, first, dir, name, AtFlags::empty()).at(Doing::Make, path)
    }

    fn close_all_but_parents(&mut self, path: &[u8]) -> Result<(), TreeError> {
        while let Some(last) = self.open.last() {
            let below = path
                .strip_prefix(&last.path[..])
                .is_some_and(|rest| rest.first() == Some(&b'/'));
            if below {
                break;
            }
            self.close_last()?;
        }
        Ok(())
    }

    fn close_all(&mut self) -> Result<(), TreeError> {
        while !self.open.is_empty() {
            self.close_last()?;
        }
        Ok(())
    }

    fn close_last(&mut self) -> Result<(), TreeError> {
        let Some(member) = self.open.pop() else {
            return Ok(());
        };
        let path = member.path.clone();
        let Some((parent, name)) = split(&path) else {
            return Ok(());
        };
        let dir = open_beneath(self.to.root.as_fd(), parent).at(Doing::Open, &path)?;
        let opened = open_beneath(dir.as_fd(), name).at(Doing::Open, &path)?;
        self.furnish(dir.as_fd(), name, &path, &member, Some(&opened))
    }

    /// Owner, attributes, mode, times: in this order, because each may change those before it.
    fn furnish(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        member: &Member,
        opened: Option<&OwnedFd>,
    ) -> Result<(), TreeError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let mut mode = member.mode;
        match self.to.owners {
            Owners::Kept => {
                let (uid, gid) = (Uid::from_raw(member.uid), Gid::from_raw(member.gid));
                chownat(dir, name, Some(uid), Some(gid), nofollow).at(Doing::Furnish, path)?;
            }
            Owners::Ours => mode &= 0o1777,
        }
        for (attribute, value) in &member.xattrs {
            let (Some(file), true) = (opened, attribute.starts_with(b"user.")) else {
                continue;
            };
            match fsetxattr(file, &attribute[..], value, XattrFlags::empty()) {
                // Not every file system has them (tmpfs of old kernels): their loss is no reason to fail.
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno).at(Doing::Furnish, path),
            }
        }
        if !matches!(member.kind, Kind::Symlink(_)) {
            chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())
                .at(Doing::Furnish, path)?;
        }
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: member.mtime.seconds,
                tv_nsec: member.mtime.nanos.into(),
            },
        };
        utimensat(dir, name, &times, nofollow).at(Doing::Furnish, path)
    }
}

fn make_node(dir: BorrowedFd<'_>, name: &[u8], kind: FileType, device: u64) -> Result<(), Errno> {
    mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)
}

/// Removes what stands in the place of an entry that is no directory.
fn clear(dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), TreeError> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if is_directory(dir, name) => {
            Err(TreeError::OtherOverDirectory(shown(path)))
        }
        Err(errno) => Err(errno).at(Doing::Replace, path),
    }
}

fn is_directory(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

/// A path of an archive without `/` at its ends and `.` in it; empty for the directory itself.
fn clean(path: &[u8]) -> Result<Vec<u8>, TreeError> {
    let mut parts = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(TreeError::Escapes(shown(path))),
            part if part.contains(&0) => {
                return Err(TreeError::Malformed("a name with a NUL byte"));
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join(&b'/'))
}

/// Into the directory and the last name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    })
}
