//! Images in use, told by a lock that ends with its last holder.
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FlockOperation;

use crate::fsutil::{Context, FsError};

/// The file in an image's directory that is locked.
pub(super) const FILE: &str = "in-use";

/// Keeps an image in the store.
#[derive(Debug)]
pub(crate) struct InUse(File);

impl InUse {
    /// Marks the image in `dir` as used. `None` if it is gone.
    pub(super) fn share(dir: &Path) -> Result<Option<Self>, FsError> {
        // Only a remover holds the lock exclusively, and not for long.
        Ok(take(dir, FlockOperation::LockShared)?.map(Self))
    }

    /// Takes the image in `dir` for removal.
    pub(super) fn claim(dir: &Path) -> Result<Claim, FsError> {
        match take(dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(Some(file)) => Ok(Claim::Ours(Self(file))),
            Ok(None) => Ok(Claim::Gone),
            Err(FsError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Ok(Claim::Used)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

/// Whether an image may be removed.
pub(super) enum Claim {
    /// Nobody uses it, and nobody can begin to while this lives.
    Ours(InUse),
    /// Somebody uses it.
    Used,
    /// It is not there.
    Gone,
}

fn take(dir: &Path, operation: FlockOperation) -> Result<Option<File>, FsError> {
    let path = dir.join(FILE);
    loop {
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.context("open", &path)?,
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)).context("lock", &path)?;
        // Between open and lock the image may have been removed, and even pulled again.
        let locked = file.metadata().context("stat", &path)?;
        match std::fs::metadata(&path) {
            Ok(there) if there.ino() == locked.ino() && there.dev() == locked.dev() => {
                return Ok(Some(file));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FsError::new("stat", &path, error)),
        }
    }
}
