//! Files of a running VM.

mod call;
mod copy;
mod error;
mod stat;
mod stream;

pub use copy::CopyOptions;
pub use error::FilesError;
pub use stat::{DirEntry, FileStat};
pub use stream::{FileReader, TarReader};

use crate::error::Error;
use crate::vm::Vm;
use call::Call;
use proto::files::{Depth, FileRequest, Links, Owners, Stat};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

/// The most [`Files::read`] gives, so that a guest cannot fill the host's memory.
const MOST_READ: u64 = 256 << 20;

/// Files of a running VM. Paths count from its root; a symbolic link leads nowhere else. Nothing of the image is
/// needed, and nothing runs in the VM but a worker of the agent.
#[derive(Debug, Clone, Copy)]
pub struct Files<'vm> {
    vm: &'vm Vm,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Permissions; otherwise those of the file that is replaced, or 0644.
    pub mode: Option<u32>,
    /// User and group; otherwise those of the file that is replaced, or root.
    pub owner: Option<(u32, u32)>,
}

impl<'vm> Files<'vm> {
    pub(crate) const fn new(vm: &'vm Vm) -> Self {
        Self { vm }
    }

    /// The contents of a regular file of 256 MiB at most; [`Self::open`] reads those of any size.
    pub fn read(&self, path: impl AsRef<OsStr>) -> Result<Vec<u8>, Error> {
        let mut reader = self.open(path)?;
        let mut contents = Vec::new();
        reader
            .by_ref()
            .take(MOST_READ + 1)
            .read_to_end(&mut contents)
            .map_err(FilesError::from_stream)?;
        if contents.len() as u64 > MOST_READ {
            return Err(FilesError::TooBig(MOST_READ).into());
        }
        Ok(contents)
    }

    /// The contents of a regular file as a stream. What fails, a path that does not exist too, is an error of the read.
    pub fn open(&self, path: impl AsRef<OsStr>) -> Result<FileReader, Error> {
        let call = self.call(FileRequest::Read { path: bytes(path) })?;
        Ok(FileReader::new(call))
    }

    /// Makes a file, or gives it new contents, which appear at once. A symbolic link is followed.
    pub fn write(&self, path: impl AsRef<OsStr>, contents: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write_from(path, contents.as_ref(), WriteOptions::default())
    }

    /// As [`Self::write`], from a stream, with permissions and owner. Nothing changes unless the stream came to its end.
    pub fn write_from(
        &self,
        path: impl AsRef<OsStr>,
        mut contents: impl Read,
        options: WriteOptions,
    ) -> Result<(), Error> {
        let mut call = self.call(FileRequest::Write {
            path: bytes(path),
            mode: options.mode,
            owner: options.owner,
        })?;
        call.feed(|stdin| io::copy(&mut contents, stdin).map(drop))
    }

    /// Looks at a path, links followed.
    pub fn stat(&self, path: impl AsRef<OsStr>) -> Result<FileStat, Error> {
        self.look(path, Links::Follow)
    }

    /// Looks at a path, a link at its end not followed.
    pub fn symlink_stat(&self, path: impl AsRef<OsStr>) -> Result<FileStat, Error> {
        self.look(path, Links::Keep)
    }

    fn look(&self, path: impl AsRef<OsStr>, links: Links) -> Result<FileStat, Error> {
        let path = bytes(path);
        let told = self.call(FileRequest::Stat { path, links })?.collect()?;
        let stat: Stat = proto::decode(&told).map_err(FilesError::Nonsense)?;
        Ok(FileStat::new(stat))
    }

    /// What is in a directory, in no order.
    pub fn list(&self, path: impl AsRef<OsStr>) -> Result<Vec<DirEntry>, Error> {
        let told = self
            .call(FileRequest::List { path: bytes(path) })?
            .collect()?;
        Ok(stat::entries(&told)?)
    }

    /// Removes a file, a symbolic link or an empty directory.
    pub fn remove(&self, path: impl AsRef<OsStr>) -> Result<(), Error> {
        self.change(FileRequest::Remove {
            path: bytes(path),
            depth: Depth::One,
        })
    }

    /// Removes what stands there with everything in it.
    pub fn remove_all(&self, path: impl AsRef<OsStr>) -> Result<(), Error> {
        self.change(FileRequest::Remove {
            path: bytes(path),
            depth: Depth::All,
        })
    }

    /// Makes a directory.
    pub fn make_dir(&self, path: impl AsRef<OsStr>, mode: u32) -> Result<(), Error> {
        self.change(FileRequest::MakeDirectory {
            path: bytes(path),
            mode,
            depth: Depth::One,
        })
    }

    /// Makes a directory and those above it that are missing; one that is there already is no error.
    pub fn make_dir_all(&self, path: impl AsRef<OsStr>, mode: u32) -> Result<(), Error> {
        self.change(FileRequest::MakeDirectory {
            path: bytes(path),
            mode,
            depth: Depth::All,
        })
    }

    /// Gives another name, replacing what has that name.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<(), Error> {
        self.change(FileRequest::Rename {
            from: bytes(from),
            to: bytes(to),
        })
    }

    /// What stands at a path, and everything below, as a tar stream in which its top has this name (`.` for the contents
    /// of a directory). Whoever unpacks it must trust it no more than the VM.
    pub fn pack(
        &self,
        path: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
    ) -> Result<TarReader, Error> {
        self.pack_with(path, name, Links::Keep)
    }

    fn pack_with(
        &self,
        path: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
        links: Links,
    ) -> Result<TarReader, Error> {
        let (path, name) = (bytes(path), bytes(name));
        let call = self.call(FileRequest::Pack { path, name, links })?;
        Ok(TarReader::new(call))
    }

    /// Unpacks a tar stream beneath a directory of the VM. The files become root's, or whose the archive says.
    pub fn unpack(
        &self,
        path: impl AsRef<OsStr>,
        mut archive: impl Read,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let owners = owners(options);
        let mut call = self.call(FileRequest::Unpack {
            path: bytes(path),
            owners,
        })?;
        call.feed(|stdin| io::copy(&mut archive, stdin).map(drop))
    }

    fn change(&self, request: FileRequest) -> Result<(), Error> {
        self.call(request)?.collect().map(drop)
    }

    fn call(&self, request: FileRequest) -> Result<Call, Error> {
        Call::start(self.vm, request)
    }
}

const fn owners(options: CopyOptions) -> Owners {
    if options.keep_owners {
        Owners::Kept
    } else {
        Owners::Root
    }
}

fn bytes(path: impl AsRef<OsStr>) -> Vec<u8> {
    path.as_ref().as_bytes().to_vec()
}
