//! A saved VM that is being made.

use super::error::{SavedError, failed};
use crate::home::random_hex;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How names begin that nobody may use yet, or any more.
pub(super) const HIDDEN: &str = ".new-";

/// A directory that is filled before anybody sees it. Dropped, it is removed; its maker killed, the next sweep does
/// it, which tells by the lock that nobody is at work.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    handle: File,
    published: bool,
}

impl Staging {
    /// Makes an empty one in `parent`.
    pub(crate) fn create(parent: &Path) -> Result<Self, SavedError> {
        loop {
            let dir = parent.join(format!("{HIDDEN}{}", random_hex(16)));
            DirBuilder::new()
                .mode(0o700)
                .create(&dir)
                .map_err(failed("make", &dir))?;
            // A sweep may have come between making and locking: then it is gone, or about to go.
            if let Some(handle) = lock(&dir)? {
                return Ok(Self {
                    dir,
                    handle,
                    published: false,
                });
            }
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes an empty file.
    pub(crate) fn file(&self, name: &str) -> Result<File, SavedError> {
        let path = self.dir.join(name);
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("create", &path))
    }

    /// Writes a small file and makes it durable.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), SavedError> {
        let path = self.dir.join(name);
        self.file(name)?
            .write_all(content)
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(failed("write", &path))
    }

    /// Gives it its name, durably. `Ok(false)` if there is something of that name.
    pub(crate) fn publish(mut self, target: &Path) -> Result<bool, SavedError> {
        self.handle.sync_all().map_err(failed("sync", &self.dir))?;
        match rustix::fs::renameat_with(
            rustix::fs::CWD,
            &self.dir,
            rustix::fs::CWD,
            target,
            rustix::fs::RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(false),
            Err(errno) => return Err(failed("publish", target)(errno)),
        }
        self.published = true;
        let parent = target.parent().unwrap_or(target);
        File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync", parent))?;
        Ok(true)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(%error, path = %self.dir.display(), "half of a saved VM is left for the next sweep");
        }
    }
}

/// Locks a directory; `None` if somebody else has it, or it is not there any more.
fn lock(dir: &Path) -> Result<Option<File>, SavedError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let handle = match open(dir, flags, Mode::empty()) {
        Ok(handle) => File::from(handle),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(failed("open", dir)(errno)),
    };
    match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(failed("lock", dir)(errno)),
    }
    let locked = handle.metadata().map_err(failed("look at", dir))?;
    match fs::metadata(dir) {
        Ok(there) if there.ino() == locked.ino() => Ok(Some(handle)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("look at", dir)(error)),
    }
}

/// Removes what killed makers left in `parent`.
pub(super) fn sweep(parent: &Path) -> Result<(), SavedError> {
    let entries = fs::read_dir(parent).map_err(failed("read", parent))?;
    for entry in entries.flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(HIDDEN.as_bytes())
        {
            continue;
        }
        let dir = entry.path();
        if let Some(_claim) = lock(&dir)? {
            remove(&dir)?;
        }
    }
    Ok(())
}

/// Takes a directory out of sight, then removes it: nobody sees half of it.
pub(super) fn retire(dir: &Path) -> Result<(), SavedError> {
    let parent = dir.parent().unwrap_or(dir);
    let hidden = parent.join(format!("{HIDDEN}{}", random_hex(16)));
    match fs::rename(dir, &hidden) {
        Ok(()) => remove(&hidden),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", dir)(error)),
    }
}

fn remove(dir: &Path) -> Result<(), SavedError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_or_left_by_a_killed_maker_goes_and_what_is_at_work_stays() {
        let parent = tempfile::tempdir().unwrap();
        drop(Staging::create(parent.path()).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let at_work = Staging::create(parent.path()).unwrap();
        let left = parent.path().join(".new-left");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("memory"), "half").unwrap();
        sweep(parent.path()).unwrap();
        assert!(at_work.dir().exists() && !left.exists());
    }

    #[test]
    fn a_name_is_given_once() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("one");
        for (content, first) in [("first", true), ("second", false)] {
            let staging = Staging::create(parent.path()).unwrap();
            staging.write("manifest.json", content.as_bytes()).unwrap();
            assert_eq!(staging.publish(&target).unwrap(), first);
        }
        assert_eq!(fs::read(target.join("manifest.json")).unwrap(), b"first");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        retire(&target).unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
