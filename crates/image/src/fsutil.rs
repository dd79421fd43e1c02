//! Files that are either whole or not there: scratch directories, publishing by rename, locks.
//!
//! Work in progress lives in `HOME/tmp/NAME`, whose descriptor its process holds with an exclusive `flock`.
//! A killed process loses the lock, so a sweep can tell what is stale without asking who made it.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A step on the file system that failed.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The disk, or the quota of the user, is full.
    #[error("no space left on the disk of {}: make room, or set SUPERMACHINE_HOME to a larger disk", .path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {step} {}", .path.display())]
    Io {
        /// What was tried, as a verb.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl FsError {
    pub(crate) fn new(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (source, path) = (source.into(), path.to_owned());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            _ => Self::Io { step, path, source },
        }
    }

    /// Whether the cause is a file or directory that does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Turns an `io::Error` into an [`FsError`] that says what was being done.
pub(crate) trait Context<T> {
    fn context(self, step: &'static str, path: &Path) -> Result<T, FsError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, step: &'static str, path: &Path) -> Result<T, FsError> {
        self.map_err(|source| FsError::new(step, path, source))
    }
}

/// Creates `path` and its missing parents, readable by nobody else.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), FsError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context("create directory", path)
}

/// Creates a file that must not exist, readable by nobody else.
pub(crate) fn create_private_file(path: &Path) -> Result<File, FsError> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context("create", path)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), FsError> {
    open_dir(path)?.sync_all().context("sync directory", path)
}

fn open_dir(path: &Path) -> Result<File, FsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).context("open directory", path)?;
    Ok(File::from(fd))
}

/// A lock that ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _descriptor: File,
}

impl Lock {
    /// Waits for every other holder to leave. The file is created if missing and never removed.
    pub(crate) fn exclusive(path: &Path) -> Result<Self, FsError> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    /// Waits for an exclusive holder to leave.
    pub(crate) fn shared(path: &Path) -> Result<Self, FsError> {
        Self::take(path, FlockOperation::LockShared)
    }

    /// `None` if anyone else holds the lock.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>, FsError> {
        match Self::take(path, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(FsError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<Self, FsError> {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = file.open(path).context("open lock", path)?;
        flock(&file, operation).context("lock", path)?;
        Ok(Self { _descriptor: file })
    }
}

fn flock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::fs::flock(file, operation)
    })?)
}

/// What [`Scratch::publish`] found at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    /// Nothing: our directory is there now.
    New,
    /// Another process was first; ours is gone.
    AlreadyThere,
}

/// A directory of half-done work, removed on drop and swept after a crash.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    directory: File,
}

impl Scratch {
    /// Makes `HOME/tmp/NAME` and locks it.
    pub(crate) fn create(home: &Path) -> Result<Self, FsError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let tmp = home.join("tmp");
        create_private_dir(&tmp)?;
        let gate = open_dir(&tmp)?;
        // Shared with other makers, exclusive to a sweeper: it must not see the directory before its lock.
        flock(&gate, FlockOperation::LockShared).context("lock", &tmp)?;
        let path = loop {
            let path = tmp.join(format!(
                "{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            ));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => break path,
                // Left by a dead process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(FsError::new("create directory", &path, error)),
            }
        };
        let directory = open_dir(&path)?;
        flock(&directory, FlockOperation::LockExclusive).context("lock", &path)?;
        Ok(Self { path, directory })
    }

    /// Where to work.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the whole directory to `target` and makes that durable. Files in it must have been synced.
    pub(crate) fn publish(&self, target: &Path) -> Result<Published, FsError> {
        self.directory
            .sync_all()
            .context("sync directory", &self.path)?;
        // rename(2) replaces an empty directory only; what we publish is never empty.
        match std::fs::rename(&self.path, target) {
            Ok(()) => {
                sync_parent(target)?;
                Ok(Published::New)
            }
            Err(error) if is_occupied(&error) => Ok(Published::AlreadyThere),
            Err(error) => Err(FsError::new("publish", target, error)),
        }
    }

    /// Moves one synced file of this directory to `target`, replacing what was there.
    pub(crate) fn publish_file(&self, name: &str, target: &Path) -> Result<(), FsError> {
        std::fs::rename(self.path.join(name), target).context("publish", target)?;
        sync_parent(target)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After publish() nothing is there any more. What cannot be removed now is swept later.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
    )
}

fn sync_parent(path: &Path) -> Result<(), FsError> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes a small file so that a reader sees the old content or the new, never a part.
pub(crate) fn replace_file(home: &Path, target: &Path, content: &[u8]) -> Result<(), FsError> {
    let scratch = Scratch::create(home)?;
    let path = scratch.path().join("file");
    let file = create_private_file(&path)?;
    io::Write::write_all(&mut &file, content).context("write", &path)?;
    file.sync_all().context("sync", &path)?;
    scratch.publish_file("file", target)
}

/// Takes a file or directory out of sight at once, then deletes it. `false` if it was not there.
pub(crate) fn discard(home: &Path, path: &Path) -> Result<bool, FsError> {
    let scratch = Scratch::create(home)?;
    match std::fs::rename(path, scratch.path().join("discarded")) {
        Ok(()) => {
            sync_parent(path)?;
            std::fs::remove_dir_all(scratch.path()).context("remove", scratch.path())?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FsError::new("remove", path, error)),
    }
}

/// Removes what killed processes left in `HOME/tmp`. Returns how many directories that were.
pub(crate) fn sweep(home: &Path) -> Result<usize, FsError> {
    let tmp = home.join("tmp");
    let stale = match claim_stale(&tmp) {
        Ok(stale) => stale,
        Err(error) if error.is_not_found() => return Ok(0),
        Err(error) => return Err(error),
    };
    for (path, _lock) in &stale {
        std::fs::remove_dir_all(path).context("remove", path)?;
    }
    Ok(stale.len())
}

/// The unlocked directories in `tmp`, now locked by us.
fn claim_stale(tmp: &Path) -> Result<Vec<(PathBuf, File)>, FsError> {
    let gate = open_dir(tmp)?;
    match flock(&gate, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // Someone makes a directory or sweeps right now: what is stale stays so.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
        Err(error) => return Err(FsError::new("lock", tmp, error)),
    }
    let mut stale = Vec::new();
    for entry in std::fs::read_dir(tmp).context("list", tmp)? {
        let path = entry.context("list", tmp)?.path();
        if path.file_name().is_some_and(is_scratch_name)
            && let Ok(directory) = open_dir(&path)
            && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            stale.push((path, directory));
        }
    }
    Ok(stale)
}

/// Only names [`Scratch::create`] gives: a user who points the home at the wrong directory must lose nothing.
fn is_scratch_name(name: &OsStr) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.to_str()
        .and_then(|name| name.split_once('-'))
        .is_some_and(|(a, b)| number(a) && number(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn tmp(home: &tempfile::TempDir) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(home.path().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let home = home();
        let target = home.path().join("names");
        replace_file(home.path(), &target, b"old").unwrap();
        replace_file(home.path(), &target, b"new").unwrap();
        assert_eq!(std::fs::read(target).unwrap(), b"new");
        assert!(tmp(&home).is_empty());
    }

    #[test]
    fn the_first_to_publish_wins() {
        let home = home();
        let target = home.path().join("target");
        for (content, outcome) in [
            ("first", Published::New),
            ("second", Published::AlreadyThere),
        ] {
            let scratch = Scratch::create(home.path()).unwrap();
            std::fs::write(scratch.path().join("file"), content).unwrap();
            assert_eq!(scratch.publish(&target).unwrap(), outcome);
        }
        assert_eq!(std::fs::read(target.join("file")).unwrap(), b"first");
        assert!(tmp(&home).is_empty());
    }

    #[test]
    fn the_sweep_takes_what_nobody_holds_and_nothing_else() {
        let home = home();
        assert_eq!(sweep(home.path()).unwrap(), 0);
        let held = Scratch::create(home.path()).unwrap();
        let directory = home.path().join("tmp");
        std::fs::create_dir_all(directory.join("12-0/inside")).unwrap();
        std::fs::create_dir(directory.join("my-own")).unwrap();
        std::fs::write(directory.join("13-0"), "a file").unwrap();
        std::os::unix::fs::symlink(home.path(), directory.join("14-0")).unwrap();
        assert_eq!(sweep(home.path()).unwrap(), 1);
        let mut left = tmp(&home);
        left.sort_unstable();
        let own = held.path().file_name().unwrap().to_owned();
        let mut expected = vec![own, "my-own".into(), "13-0".into(), "14-0".into()];
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn locks_exclude_and_are_shared() {
        let home = home();
        let path = home.path().join("lock");
        let shared = Lock::shared(&path).unwrap();
        let also_shared = Lock::shared(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((shared, also_shared));
        let exclusive = Lock::exclusive(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop(exclusive);
        assert!(Lock::try_exclusive(&path).unwrap().is_some());
    }

    #[test]
    fn what_is_discarded_is_gone() {
        let home = home();
        let path = home.path().join("directory");
        std::fs::create_dir_all(path.join("inside")).unwrap();
        assert!(discard(home.path(), &path).unwrap());
        assert!(!discard(home.path(), &path).unwrap());
        assert!(!path.exists() && tmp(&home).is_empty());
    }
}
