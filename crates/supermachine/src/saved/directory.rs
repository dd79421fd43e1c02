//! A saved VM that was published.

use super::error::{SavedError, failed};
use super::shelf::by_digest;
use super::{MANIFEST, MEMORY_FILE, STATE_FILE, working_set};
use crate::home::Home;
use crate::vmm::SavedFiles;
use ::snapshot::manifest::{MAX_BYTES, Manifest};
use ::snapshot::{Digest, State, memory};
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The VMM counts layers in a byte.
const MAX_LAYERS: usize = 255;

/// A directory whose manifest was read and whose files have the right sizes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Saved {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
    /// Of the manifest.
    pub(crate) digest: Digest,
}

impl Saved {
    /// Opens one. Contents of state and memory are not looked at: hashing them would cost more than a restore.
    pub(crate) fn open(dir: &Path) -> Result<Self, SavedError> {
        check_owner(dir)?;
        let path = dir.join(MANIFEST);
        let file = File::open(&path).map_err(failed("open", &path))?;
        let mut text = Vec::new();
        file.take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut text)
            .map_err(failed("read", &path))?;
        let manifest =
            Manifest::parse(&text).map_err(|source| SavedError::Manifest { path, source })?;
        let saved = Self {
            dir: dir.to_owned(),
            digest: manifest.digest(),
            manifest,
        };
        saved.check_sizes()?;
        Ok(saved)
    }

    /// The name of the directory.
    pub(crate) fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Guest memory in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        u64::from(self.manifest.memory_mib) << 20
    }

    fn check_sizes(&self) -> Result<(), SavedError> {
        let exact =
            |name: &str, expected| self.check_size(name, |found| found == expected, expected);
        exact(STATE_FILE, self.manifest.state.bytes)?;
        for disk in &self.manifest.disks {
            for name in &disk.files {
                exact(name, disk.bytes)?;
            }
        }
        // Behind guest memory is the table.
        let least = self.memory_bytes();
        self.check_size(MEMORY_FILE, |found| found > least, least)
    }

    fn check_size(
        &self,
        name: &str,
        fits: impl Fn(u64) -> bool,
        expected: u64,
    ) -> Result<(), SavedError> {
        let path = self.dir.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
        if metadata.is_file() && fits(metadata.len()) {
            return Ok(());
        }
        Err(SavedError::Size {
            found: metadata.len(),
            path,
            expected,
        })
    }

    /// Opens the files a restore needs, those of every base included.
    pub(crate) fn files(&self, home: &Home) -> Result<SavedFiles, SavedError> {
        let mut memory = vec![self.file(MEMORY_FILE)?];
        for base in self.bases(home)? {
            memory.push(base.file(MEMORY_FILE)?);
        }
        memory.reverse();
        Ok(SavedFiles {
            state: self.file(STATE_FILE)?,
            memory,
            working_set: working_set::open(&self.dir),
        })
    }

    /// What it builds upon, the nearest first.
    pub(crate) fn bases(&self, home: &Home) -> Result<Vec<Self>, SavedError> {
        let mut bases: Vec<Self> = Vec::new();
        let mut next = self.manifest.base;
        while let Some(digest) = next {
            if bases.len() + 1 >= MAX_LAYERS {
                return Err(SavedError::TooManyLayers {
                    path: self.dir.clone(),
                    max: MAX_LAYERS,
                });
            }
            let base = by_digest(home, &digest)?.ok_or_else(|| SavedError::BaseMissing {
                path: self.dir.clone(),
                base: digest,
            })?;
            next = base.manifest.base;
            bases.push(base);
        }
        Ok(bases)
    }

    /// Opens one of its files.
    pub(crate) fn file(&self, name: &str) -> Result<File, SavedError> {
        let path = self.dir.join(name);
        File::open(&path).map_err(failed("open", &path))
    }

    /// Reads everything and compares it with the manifest: state, memory, disks.
    pub(crate) fn verify(&self) -> Result<(), SavedError> {
        self.verify_state()?;
        self.verify_memory()?;
        for disk in &self.manifest.disks {
            if !disk.files.is_empty() {
                super::seal::verify_disk(&self.manifest, disk, &self.dir)?;
            }
        }
        Ok(())
    }

    fn verify_state(&self) -> Result<(), SavedError> {
        let path = self.dir.join(STATE_FILE);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        // The damaged section by name, where there is one.
        State::parse(&bytes).map_err(|source| SavedError::State {
            path: path.clone(),
            source,
        })?;
        compare(path, Digest::of(&bytes), self.manifest.state.digest)
    }

    /// Reads guest memory and compares it with the manifest.
    pub(crate) fn verify_memory(&self) -> Result<(), SavedError> {
        let path = self.dir.join(MEMORY_FILE);
        let found =
            memory::digest(&self.file(MEMORY_FILE)?, self.memory_bytes()).map_err(|source| {
                SavedError::Memory {
                    path: path.clone(),
                    source,
                }
            })?;
        compare(path, found, self.manifest.memory.digest)
    }
}

pub(super) fn compare(path: PathBuf, found: Digest, expected: Digest) -> Result<(), SavedError> {
    if found == expected {
        Ok(())
    } else {
        Err(SavedError::Digest {
            path,
            found,
            expected,
        })
    }
}

/// What runs in a VM must not be anybody else's choice.
fn check_owner(dir: &Path) -> Result<(), SavedError> {
    let metadata = fs::symlink_metadata(dir).map_err(failed("look at", dir))?;
    let reason = if !metadata.is_dir() {
        "it is not a directory"
    } else if metadata.uid() != geteuid().as_raw() {
        "it belongs to another user"
    } else if metadata.mode() & 0o077 != 0 {
        "other users may enter it"
    } else {
        return Ok(());
    };
    Err(SavedError::Unsafe {
        path: dir.to_owned(),
        reason,
    })
}

/// Bytes that files below a directory take on the disk.
pub(crate) fn on_disk(dir: &Path) -> io::Result<u64> {
    fs::read_dir(dir)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.blocks() * 512))
}
