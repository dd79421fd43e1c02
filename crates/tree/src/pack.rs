//! From a directory tree to an archive.

use crate::error::{At, Doing, TreeError};
use crate::member::{Kind, Member, Time};
use crate::writer::Writer;
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, fstatfs, major,
    minor, openat, readlinkat, statat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// File systems that hold no files but what the kernel makes up: their directories are packed empty.
const MADE_UP: [u64; 12] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6367_7270, // cgroup2
    0x0027_e0eb, // cgroup
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x4249_4e4d, // binfmt_misc
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
];

/// Whether the path itself may be a symbolic link that is followed. Links below it never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A link is packed as a link.
    Keep,
    /// What it leads to is packed.
    Follow,
}

/// How to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// What the top is called in the archive; `.` for the contents of a directory.
    pub name: Vec<u8>,
    /// Of the top.
    pub links: Links,
}

/// Packs what stands at `path` and everything below, and ends the archive.
pub fn pack<W: Write>(path: &Path, how: &Pack, to: W) -> Result<W, TreeError> {
    use std::os::unix::ffi::OsStrExt;
    let flags = match how.links {
        Links::Keep => AtFlags::SYMLINK_NOFOLLOW,
        Links::Follow => AtFlags::empty(),
    };
    let mut packer = Packer {
        to: Writer::new(to),
        seen: HashMap::new(),
    };
    let stat = statat(CWD, path, flags).at(Doing::Look, path.as_os_str().as_bytes())?;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(Errno::INVAL))
        .at(Doing::Open, path.as_os_str().as_bytes())?;
    packer.any(CWD, &name, &stat, how.links, &how.name)?;
    packer.to.finish()
}

struct Packer<W> {
    to: Writer<W>,
    /// Files with more names than one, by device and inode: under which name they have been packed.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    fn any(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        links: Links,
        path: &[u8],
    ) -> Result<(), TreeError> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let kind = match file_type {
            FileType::Directory => return self.directory(dir, name, links, path),
            FileType::RegularFile => return self.file(dir, name, stat, links, path),
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).at(Doing::Read, path)?;
                Kind::Symlink(target.into_bytes())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharDevice(major(stat.st_rdev), minor(stat.st_rdev)),
            FileType::BlockDevice => Kind::BlockDevice(major(stat.st_rdev), minor(stat.st_rdev)),
            // No archive holds a socket.
            _ => return Ok(()),
        };
        self.to.entry(&member(path, kind, stat, Vec::new()))
    }

    fn file(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        links: Links,
        path: &[u8],
    ) -> Result<(), TreeError> {
        let seen_before = |packer: &mut Self, stat: &Stat| {
            if stat.st_nlink < 2 {
                return None;
            }
            let earlier = packer.seen.get(&(stat.st_dev, stat.st_ino)).cloned();
            if earlier.is_none() {
                packer
                    .seen
                    .insert((stat.st_dev, stat.st_ino), path.to_vec());
            }
            earlier
        };
        if let Some(first) = seen_before(self, stat) {
            return self
                .to
                .entry(&member(path, Kind::HardLink(first), stat, Vec::new()));
        }
        // It may have been replaced since: what is open counts, and a FIFO must not make us wait.
        let opened = open(dir, name, OFlags::NONBLOCK, links).at(Doing::Open, path)?;
        let stat = fstat(&opened).at(Doing::Look, path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::STALE).at(Doing::Open, path);
        }
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        let xattrs = xattrs(&opened).at(Doing::Read, path)?;
        let member = member(path, Kind::File(len), &stat, xattrs);
        self.to.file(&member, len, &mut File::from(opened))
    }

    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        links: Links,
        path: &[u8],
    ) -> Result<(), TreeError> {
        let opened = open(dir, name, OFlags::DIRECTORY, links).at(Doing::Open, path)?;
        let stat = fstat(&opened).at(Doing::Look, path)?;
        let attributes = xattrs(&opened).at(Doing::Read, path)?;
        let shown = [path, b"/"].concat();
        self.to
            .entry(&member(&shown, Kind::Directory, &stat, attributes))?;
        let file_system = fstatfs(&opened).at(Doing::Look, path)?;
        if MADE_UP.contains(&u64::try_from(file_system.f_type).unwrap_or(0)) {
            return Ok(());
        }
        for name in names(&opened).at(Doing::Read, path)? {
            let below = [&shown[..], name.to_bytes()].concat();
            match statat(&opened, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => self.any(opened.as_fd(), &name, &stat, Links::Keep, &below)?,
                // Removed since the directory was read.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).at(Doing::Look, &below),
            }
        }
        Ok(())
    }
}

fn open(dir: BorrowedFd<'_>, name: &CStr, kind: OFlags, links: Links) -> io::Result<OwnedFd> {
    let follow = match links {
        Links::Keep => OFlags::NOFOLLOW,
        Links::Follow => OFlags::empty(),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | kind | follow;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

/// In their order by bytes, so that the same tree gives the same archive.
fn names(dir: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn member(path: &[u8], kind: Kind, stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Member {
    Member {
        path: path.to_vec(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs,
    }
}

/// The attributes people give their files; others belong to one system.
fn xattrs(file: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = Vec::with_capacity(64 << 10);
    match flistxattr(file, spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    }
    let mut found = Vec::new();
    for name in list.split(|&byte| byte == 0) {
        if !name.starts_with(b"user.") {
            continue;
        }
        let mut value = Vec::with_capacity(64 << 10);
        match fgetxattr(file, name, spare_capacity(&mut value)) {
            Ok(_) => found.push((name.to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}
