//! A directory on the host as a layer (`rootfs:DIR`).
//!
//! Everything is opened relative to the directory's own descriptor and never through a link, so a tree that someone
//! else controls cannot lead out of itself.

mod xattrs;

use crate::fsutil::{Context, FsError};
use crate::layer::attributes::{Attributes, Timestamp};
use crate::layer::builder::Builder;
use crate::layer::data::DataWriter;
use crate::layer::index::{Content, DeviceNumber, Extent, Index, Inode};
use crate::layer::path::TreePath;
use crate::layer::{EntryName, LayerError, Limits, Refusal, check_room, check_symlink};
use crate::sparse::{self, Range};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BUFFER: usize = 256 << 10;

/// Reads the tree below `dir`, without what is mounted in it and without the content of `except`.
pub(crate) fn read_dir(
    dir: &Path,
    except: &Path,
    data: &mut DataWriter,
    limits: &Limits,
) -> Result<Index, LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, flags, Mode::empty()).context("open directory", dir)?;
    let except = rustix::fs::stat(except).ok().map(|stat| identity(&stat));
    let builder = Builder::new(limits);
    let (buffer, links) = (vec![0; BUFFER], HashMap::new());
    Walk {
        dir,
        root,
        except,
        data,
        limits,
        builder,
        links,
        buffer,
    }
    .run()
}

struct Walk<'a> {
    dir: &'a Path,
    root: OwnedFd,
    except: Option<Identity>,
    data: &'a mut DataWriter,
    limits: &'a Limits,
    builder: Builder,
    /// Files seen that have more than one name.
    links: HashMap<Identity, u32>,
    buffer: Vec<u8>,
}

/// Device and inode number.
type Identity = (u64, u64);

const fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

impl Walk<'_> {
    fn run(mut self) -> Result<Index, LayerError> {
        let root = TreePath::root();
        let stat = rustix::fs::fstat(&self.root).context("stat", self.dir)?;
        let attributes = self.attributes(&stat, &root, &xattrs::access_path(&self.root, b""))?;
        self.builder
            .directory(&root, attributes)
            .map_err(|reason| refused(&root, reason))?;
        let mut queue = VecDeque::from([root]);
        while let Some(path) = queue.pop_front() {
            let Some(directory) = self.open_directory(&path)? else {
                continue;
            };
            for name in self.names(&directory, &path)? {
                let child = path.join(&name).map_err(|reason| refused(&path, reason))?;
                if self.entry(&directory, &name, &child)? == FileType::Directory {
                    queue.push_back(child);
                }
            }
        }
        Ok(self.builder.finish())
    }

    /// `None` for a directory whose content is not part of the tree.
    fn open_directory(&self, path: &TreePath) -> Result<Option<OwnedFd>, LayerError> {
        let relative = if path.as_bytes().is_empty() {
            b"."
        } else {
            path.as_bytes()
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let directory =
            match rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), inside) {
                Err(Errno::XDEV) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => return Err(self.changed(path)),
                result => result.context("open directory", &self.shown(path))?,
            };
        let stat = rustix::fs::fstat(&directory).context("stat", &self.shown(path))?;
        Ok((self.except != Some(identity(&stat))).then_some(directory))
    }

    fn names(&self, directory: &OwnedFd, path: &TreePath) -> Result<Vec<Vec<u8>>, LayerError> {
        let list = || -> Result<Vec<Vec<u8>>, Errno> {
            let entries =
                Dir::read_from(directory)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
            entries
                .filter(|name| !matches!(name.as_deref(), Ok(b"." | b"..")))
                .collect()
        };
        let mut names = list().context("list", &self.shown(path))?;
        names.sort_unstable();
        Ok(names)
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        path: &TreePath,
    ) -> Result<FileType, LayerError> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.context("stat", &self.shown(path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory
            && stat.st_nlink > 1
            && let Some(inode) = self.links.get(&identity(&stat))
        {
            self.builder
                .link_to(path, *inode)
                .map_err(|reason| refused(path, reason))?;
            return Ok(kind);
        }
        let attributes = self.attributes(&stat, path, &xattrs::access_path(directory, name))?;
        if kind == FileType::Directory {
            self.builder
                .directory(path, attributes)
                .map_err(|reason| refused(path, reason))?;
            return Ok(kind);
        }
        let content = self.content(kind, &stat, directory, name, path)?;
        let inode = self.builder.inode(
            path,
            Inode {
                attributes,
                content,
            },
        );
        let inode = inode.map_err(|reason| refused(path, reason))?;
        if stat.st_nlink > 1 {
            self.links.insert(identity(&stat), inode);
        }
        Ok(kind)
    }

    fn content(
        &mut self,
        kind: FileType,
        stat: &Stat,
        directory: &OwnedFd,
        name: &[u8],
        path: &TreePath,
    ) -> Result<Content, LayerError> {
        let device = || {
            let (major, minor) = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
            let number = DeviceNumber::new(major.into(), minor.into());
            number.ok_or_else(|| refused(path, Refusal::DeviceNumber(major.into(), minor.into())))
        };
        Ok(match kind {
            FileType::RegularFile => Content::File(self.file(stat, directory, name, path)?),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, name, Vec::new())
                    .context("read", &self.shown(path))?;
                check_symlink(target.as_bytes()).map_err(|reason| refused(path, reason))?;
                Content::Symlink(target.as_bytes().into())
            }
            FileType::CharacterDevice => Content::CharDevice(device()?),
            FileType::BlockDevice => Content::BlockDevice(device()?),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Directory | FileType::Unknown => return Err(self.changed(path)),
        })
    }

    fn file(
        &mut self,
        seen: &Stat,
        directory: &OwnedFd,
        name: &[u8],
        path: &TreePath,
    ) -> Result<Extent, LayerError> {
        let shown = self.shown(path);
        // Not blocking, should it be a FIFO by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(directory, name, flags, Mode::empty()).context("open", &shown)?;
        let file = File::from(file);
        let size = seen.st_size.cast_unsigned();
        check_room(size, self.data, self.limits).map_err(|reason| refused(path, reason))?;
        self.copy(&file, size).map_err(|error| match error {
            CopyError::Ended => self.changed(path),
            CopyError::Read(error) => FsError::new("read", &shown, error).into(),
            CopyError::Write(error) => error.into(),
        })?;
        let now = rustix::fs::fstat(&file).context("stat", &shown)?;
        let facts = |stat: &Stat| {
            (
                identity(stat),
                stat.st_size,
                stat.st_mtime,
                stat.st_mtime_nsec,
            )
        };
        if facts(&now) != facts(seen) {
            return Err(self.changed(path));
        }
        Ok(self.data.finish_file()?)
    }

    fn copy(&mut self, file: &File, size: u64) -> Result<(), CopyError> {
        let mut at = 0;
        while at < size {
            match sparse::next_range(file, at, size).map_err(CopyError::Read)? {
                Range::Hole(to) => {
                    self.data.skip(to - at).map_err(CopyError::Write)?;
                    at = to;
                }
                Range::Data(to) => {
                    let len = usize::try_from(to - at).map_or(BUFFER, |len| len.min(BUFFER));
                    match file.read_at(&mut self.buffer[..len], at) {
                        Ok(0) => return Err(CopyError::Ended),
                        Ok(count) => {
                            self.data
                                .write(&self.buffer[..count])
                                .map_err(CopyError::Write)?;
                            at += count as u64;
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(CopyError::Read(error)),
                    }
                }
            }
        }
        Ok(())
    }

    fn attributes(
        &self,
        stat: &Stat,
        path: &TreePath,
        access: &[u8],
    ) -> Result<Attributes, LayerError> {
        let xattrs = xattrs::read(access).map_err(|error| match error {
            xattrs::Error::Read(error) => {
                FsError::new("read the extended attributes of", &self.shown(path), error).into()
            }
            xattrs::Error::Refused(reason) => refused(path, reason),
        })?;
        let seconds = stat.st_mtime;
        Ok(Attributes {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Timestamp {
                seconds,
                nanoseconds: stat.st_mtime_nsec as u32,
            },
            xattrs,
        })
    }

    fn shown(&self, path: &TreePath) -> PathBuf {
        self.dir.join(OsStr::from_bytes(path.as_bytes()))
    }

    fn changed(&self, path: &TreePath) -> LayerError {
        LayerError::Changed(self.shown(path))
    }
}

enum CopyError {
    Read(io::Error),
    Write(FsError),
    Ended,
}

fn refused(path: &TreePath, reason: Refusal) -> LayerError {
    LayerError::Refused {
        entry: EntryName::new(path.as_bytes()),
        reason,
    }
}
