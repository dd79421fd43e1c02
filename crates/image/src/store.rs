//! The image store: what is under the home directory, shared by any number of processes.
//!
//! ```text
//! version                          the format, checked at every open
//! lock                             shared while images are added, exclusive while what nobody needs is removed
//! images/names.json                names -> images, replaced as a whole under names.lock
//! images/HEX/{manifest,config,root}.json   an image, published by renaming a directory
//! images/HEX/in-use                locked (shared) by whoever uses the image
//! layers/  roots/  tmp/            see `layer`, `root` and `fsutil`
//! ```
//! Nothing here needs a process to be alive: locks end with their holders, half-done work is swept.
mod collect;
mod error;
mod images;
mod in_use;
mod names;
mod summary;
mod verify;

use std::path::{Path, PathBuf};

pub use collect::{PruneScope, Reclaimed, Removed};
pub use error::{Corruption, StoreError};
pub use summary::{ImageSummary, Usage};
pub use verify::Damage;

pub(crate) use images::NewImage;
pub(crate) use in_use::InUse;
pub(crate) use names::NameEntry;

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::fsutil::{self, Context, Lock};
use crate::layer::LayerStore;
use crate::reference::ImageRef;
use crate::root::{RootImage, RootStore};

/// The version of everything below the home directory.
const FORMAT: &str = "1";

/// The images of one home directory.
#[derive(Debug, Clone)]
pub struct Store {
    home: PathBuf,
    pub(crate) layers: LayerStore,
    pub(crate) roots: RootStore,
}

/// An image that can be run. While this value lives, nobody can remove the image.
#[derive(Debug)]
pub struct StoredImage {
    /// The digest of its manifest: the image's id.
    pub digest: Digest,
    /// The name it was found by; none if by its id.
    pub name: Option<String>,
    /// What it asks of whoever runs it.
    pub config: ImageConfig,
    /// Its root filesystem.
    pub root: RootImage,
    pub(crate) in_use: InUse,
}

impl StoredImage {
    /// A descriptor that keeps the image from being removed, to be handed to a process that uses
    /// the image longer than this value lives.
    pub fn lock(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        self.in_use.duplicate()
    }
}

impl Store {
    /// Opens the store below `home` and creates what is missing. What killed processes left half-done is removed.
    pub fn open(home: &Path) -> Result<Self, StoreError> {
        fsutil::create_private_dir(home)?;
        check_version(home)?;
        fsutil::create_private_dir(&home.join("images"))?;
        let store = Self {
            home: home.to_owned(),
            layers: LayerStore::open(home)?,
            roots: RootStore::open(home)?,
        };
        if let Err(error) = fsutil::sweep(home) {
            tracing::warn!(%error, "cannot remove what a killed process left");
        }
        Ok(store)
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Finds an image by name, digest or the start of its digest, without asking anyone else.
    pub fn get(&self, reference: &ImageRef) -> Result<Option<StoredImage>, StoreError> {
        // Until the image itself is locked, nobody may collect its parts.
        let _adding = self.lock_adding()?;
        match self.find(reference)? {
            Some((digest, name)) => self.load(&digest, name),
            None => Ok(None),
        }
    }

    /// The image a reference means, and the name by which it does.
    fn find(&self, reference: &ImageRef) -> Result<Option<(Digest, Option<String>)>, StoreError> {
        if let ImageRef::Id(prefix) = reference {
            return Ok(self.by_prefix(prefix)?.map(|digest| (digest, None)));
        }
        let name = self.name_of(reference)?;
        if let Some(entry) = self.names()?.get(&name) {
            return Ok(Some((entry.image, Some(name))));
        }
        let ImageRef::Registry(reference) = reference else {
            return Ok(None);
        };
        if let Some(digest) = reference.digest() {
            return Ok(self.has(digest)?.then_some((*digest, None)));
        }
        match reference.as_id() {
            Some(prefix) => Ok(self.by_prefix(&prefix)?.map(|digest| (digest, None))),
            None => Ok(None),
        }
    }

    /// The key of a reference in the index of names.
    pub(crate) fn name_of(&self, reference: &ImageRef) -> Result<String, StoreError> {
        let absolute = reference.absolute().map_err(StoreError::CurrentDir)?;
        Ok(absolute.to_string())
    }

    /// Held while images are added or looked up: nothing is collected meanwhile.
    pub(crate) fn lock_adding(&self) -> Result<Lock, StoreError> {
        Ok(Lock::shared(&self.home.join("lock"))?)
    }

    fn images_dir(&self) -> PathBuf {
        self.home.join("images")
    }

    fn image_dir(&self, digest: &Digest) -> PathBuf {
        self.images_dir().join(digest.hex())
    }
}

/// Compares the version file, or writes it into a home that has none.
fn check_version(home: &Path) -> Result<(), StoreError> {
    let path = home.join("version");
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => {
            let found = found
                .trim()
                .chars()
                .filter(|c| !c.is_control())
                .take(40)
                .collect();
            Err(StoreError::Version {
                home: home.to_owned(),
                found,
                supported: FORMAT,
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(fsutil::replace_file(
            home,
            &path,
            format!("{FORMAT}\n").as_bytes(),
        )?),
        Err(error) => Ok(Err(error).context("read", &path)?),
    }
}
