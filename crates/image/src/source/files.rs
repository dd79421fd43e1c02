//! Named files: those of a directory, or the members of a tar file.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system says no.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// A document longer than any should be.
    #[error("{path} has {len} bytes; at most {limit} are read")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
        /// The most that is read.
        limit: u64,
    },
}

/// An open file.
pub(super) struct Opened<'a> {
    pub(super) len: u64,
    pub(super) reader: Box<dyn Read + Send + 'a>,
}

/// A set of files with relative names.
pub(super) trait Files: Sync {
    /// Opens a file; `None` if there is none of this name.
    fn open<'a>(&'a self, name: &str) -> Result<Option<Opened<'a>>, FilesError>;

    /// Where they are, for messages.
    fn place(&self) -> &Path;

    /// A whole file of at most `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
        let Some(opened) = self.open(name)? else {
            return Ok(None);
        };
        let path = || self.place().join(name);
        if opened.len > limit {
            return Err(FilesError::TooLarge {
                path: path(),
                len: opened.len,
                limit,
            });
        }
        let mut bytes = Vec::new();
        opened
            .reader
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| FilesError::Read {
                path: path(),
                source,
            })?;
        Ok(Some(bytes))
    }
}

/// The files of a directory.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }
}

impl Files for Directory {
    fn open<'a>(&'a self, name: &str) -> Result<Option<Opened<'a>>, FilesError> {
        match open_regular(&self.path.join(name)) {
            Ok((file, len)) => Ok(Some(Opened {
                len,
                reader: Box::new(file),
            })),
            Err(FilesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn place(&self) -> &Path {
        &self.path
    }
}

/// Opens a regular file without waiting for the other end of anything else, and tells its length.
pub(super) fn open_regular(path: &Path) -> Result<(File, u64), FilesError> {
    let failed = |source: io::Error| FilesError::Read {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(
        rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?,
    );
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FilesError::NotAFile {
            path: path.to_owned(),
        });
    }
    Ok((file, metadata.len()))
}
