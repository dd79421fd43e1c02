//! What is slow to make is made once and kept under `$XDG_CACHE_HOME/supermachine-dev/KIND/KEY/`.
//!
//! A directory appears there by rename, whole or not at all; a lock keeps two builds of one key apart.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The cache of one kind of thing.
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache of a kind, such as `kernels`.
    pub fn open(kind: &str) -> Result<Self> {
        Self::at(root()?.join(kind))
    }

    fn at(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("make the cache {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The directory of `key`; `make` fills an empty one unless it exists already.
    pub fn get_or_make(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let done = self.dir.join(key);
        if done.is_dir() {
            return Ok(done);
        }
        let lock_path = self.dir.join(format!(".{key}.lock"));
        let lock = File::create(&lock_path).with_context(|| lock_path.display().to_string())?;
        if lock.try_lock().is_err() {
            eprintln!(
                "      waiting for another process that makes {}",
                done.display()
            );
            lock.lock()
                .with_context(|| format!("lock {}", lock_path.display()))?;
        }
        if done.is_dir() {
            return Ok(done);
        }
        // We hold the lock, so what a killed process left here has no owner.
        let work = self.dir.join(format!(".{key}.work"));
        remove_tree(&work)?;
        fs::create_dir(&work).with_context(|| work.display().to_string())?;
        make(&work)?;
        fs::rename(&work, &done).with_context(|| format!("publish {}", done.display()))?;
        Ok(done)
    }
}

/// Where everything of ours is cached.
pub fn root() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
        )
        .join(".cache"),
    };
    Ok(base.join("supermachine-dev"))
}

/// Removes a directory tree; a missing one is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_failed_build_leaves_nothing_that_looks_built() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::at(temp.path().to_path_buf()).unwrap();
        let failed = cache.get_or_make("k", |work| {
            fs::write(work.join("half"), "x")?;
            bail!("interrupted")
        });
        assert!(failed.is_err());
        assert!(!temp.path().join("k").exists());
        let made = cache
            .get_or_make("k", |work| Ok(fs::write(work.join("whole"), "x")?))
            .unwrap();
        assert!(made.join("whole").exists() && !made.join("half").exists());
    }

    #[test]
    fn what_is_there_is_not_made_again() {
        let temp = tempfile::tempdir().unwrap();
        let cache = Cache::at(temp.path().to_path_buf()).unwrap();
        cache.get_or_make("k", |_| Ok(())).unwrap();
        cache.get_or_make("k", |_| bail!("made twice")).unwrap();
    }
}
