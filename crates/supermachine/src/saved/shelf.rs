//! A directory of saved VMs.

use super::directory::Saved;
use super::error::{SavedError, failed};
use super::staging;
use crate::home::Home;
use ::snapshot::Digest;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// `templates/` or `snapshots/`.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    dir: PathBuf,
}

/// Held while something is made or removed that others may want to make or remove too.
#[derive(Debug)]
pub(crate) struct ShelfLock {
    _file: File,
}

impl Shelf {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Waits for whoever has the lock.
    pub(crate) fn lock(&self) -> Result<ShelfLock, SavedError> {
        let path = self.dir.join(".lock");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(failed("lock", &path))?;
        Ok(ShelfLock { _file: file })
    }

    /// The names of everything that was published, whole or damaged, in order.
    pub(crate) fn names(&self) -> Result<Vec<String>, SavedError> {
        let entries = fs::read_dir(&self.dir).map_err(failed("read", &self.dir))?;
        let mut names: Vec<_> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Everything that can be opened, in the order of names.
    pub(crate) fn readable(&self) -> Result<Vec<Saved>, SavedError> {
        let open = |name: String| Saved::open(&self.path(&name)).ok();
        Ok(self.names()?.into_iter().filter_map(open).collect())
    }

    /// Removes what killed makers left.
    pub(crate) fn sweep(&self) -> Result<(), SavedError> {
        staging::sweep(&self.dir)
    }

    /// Gives one another name.
    pub(crate) fn rename(&self, name: &str, other: &str) -> Result<(), SavedError> {
        let path = self.path(name);
        fs::rename(&path, self.path(other)).map_err(failed("rename", &path))
    }

    /// Removes one, whole or damaged. Those who have its files open keep them.
    pub(crate) fn remove(&self, name: &str) -> Result<(), SavedError> {
        staging::retire(&self.path(name))
    }
}

/// The template or snapshot whose manifest has this digest.
pub(crate) fn by_digest(home: &Home, digest: &Digest) -> Result<Option<Saved>, SavedError> {
    for shelf in [home.templates(), home.snapshots()] {
        let found = shelf
            .readable()?
            .into_iter()
            .find(|saved| saved.digest == *digest);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}
