//! A tar file as a set of named files, read where they are.
//!
//! Layouts and `docker save` archives are tar files of few, large members with plain names, so one
//! pass over the headers finds everything, and blobs are read in any order, several at once, with
//! no copy. A compressed archive cannot be read that way: it is unpacked into a nameless file first.
mod scan;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::FilesError;
use super::files::{Files, Opened, open_regular};
use crate::cancel::{Interrupted, Patience};
use crate::decompress::{Compression, Decoder};
use crate::fsutil::{FsError, Scratch, create_private_file};

/// As much as one layer may have.
const UNPACKED_LIMIT: u64 = 64 << 30;
const COPY_LEN: usize = 1 << 20;
/// Links to links that are followed.
const LINK_LIMIT: usize = 8;

/// A tar file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TarballError {
    /// It cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// It is not a tar file.
    #[error("{path} is not a good tar archive: {reason} (byte {offset})")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
        /// Where, in the uncompressed archive.
        offset: u64,
    },
    /// Its compressed form is invalid.
    #[error("cannot decompress {path}")]
    Decompress {
        /// The file.
        path: PathBuf,
        /// What the decompressor found.
        source: io::Error,
    },
    /// The unpacked archive cannot be kept.
    #[error(transparent)]
    Spool(#[from] FsError),
    /// Cancelled or out of time.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Where a member's bytes are, or what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File { offset: u64, len: u64 },
    Link { target: String },
}

/// An open tar file and what is in it.
pub(super) struct Tarball {
    file: File,
    path: PathBuf,
    members: HashMap<String, Member>,
}

impl Tarball {
    /// Reads the headers. A compressed archive is first unpacked below `home`.
    pub(super) fn open(
        path: &Path,
        home: &Path,
        patience: &Patience,
    ) -> Result<Self, TarballError> {
        let (file, len) = open_regular(path)?;
        let unpacked = {
            let decoder =
                Decoder::new(&file, UNPACKED_LIMIT).map_err(|source| TarballError::Decompress {
                    path: path.to_owned(),
                    source,
                })?;
            match decoder.compression() {
                Compression::Plain => None,
                Compression::Gzip | Compression::Zstd => {
                    Some(spool(decoder, path, home, patience)?)
                }
            }
        };
        let (file, len) = unpacked.unwrap_or((file, len));
        let members = scan::members(&file, len).map_err(|fault| match fault {
            scan::Fault::Read(source) => FilesError::Read {
                path: path.to_owned(),
                source,
            }
            .into(),
            scan::Fault::Malformed { reason, offset } => TarballError::Malformed {
                path: path.to_owned(),
                reason,
                offset,
            },
        })?;
        Ok(Self {
            file,
            path: path.to_owned(),
            members,
        })
    }

    /// The place of a file, through links.
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name;
        for _ in 0..=LINK_LIMIT {
            match self.members.get(name)? {
                Member::File { offset, len } => return Some((*offset, *len)),
                Member::Link { target } => name = target,
            }
        }
        None
    }
}

impl Files for Tarball {
    fn open<'a>(&'a self, name: &str) -> Result<Option<Opened<'a>>, FilesError> {
        Ok(self.find(name).map(|(offset, len)| Opened {
            len,
            reader: Box::new(Window {
                file: &self.file,
                offset,
                left: len,
            }),
        }))
    }

    fn place(&self) -> &Path {
        &self.path
    }
}

/// Unpacks into a file that has no name, so that nothing is left of it whatever happens.
fn spool(
    mut decoder: Decoder<'_>,
    path: &Path,
    home: &Path,
    patience: &Patience,
) -> Result<(File, u64), TarballError> {
    let scratch = Scratch::create(home)?;
    let name = scratch.path().join("archive.tar");
    let file = create_private_file(&name)?;
    drop(scratch);
    let mut buffer = vec![0; COPY_LEN];
    let mut len = 0;
    loop {
        patience.check()?;
        let count = match decoder.read(&mut buffer) {
            Ok(0) => return Ok((file, len)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(TarballError::Decompress {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        file.write_all_at(&buffer[..count], len)
            .map_err(|source| FsError::new("write", &name, source))?;
        len += count as u64;
    }
}

/// A stretch of a file, read without a position of its own.
struct Window<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
