//! Removing images, and what no image needs any more.
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::in_use::{Claim, InUse};
use super::summary::disk_usage;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsutil::{self, Lock};
use crate::reference::ImageRef;

/// How long prune waits for pulls to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which images [`Store::prune`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// Those without a name.
    Dangling,
    /// All that nobody uses at the moment.
    Unused,
}

/// What a removal removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub names: Vec<String>,
    /// The image, if that was its last name.
    pub image: Option<Digest>,
    /// Layers, roots and bytes that went with it.
    pub reclaimed: Reclaimed,
}

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Images.
    pub images: Vec<Digest>,
    /// How many layers.
    pub layers: usize,
    /// How many roots.
    pub roots: usize,
    /// How many directories of half-done work.
    pub stale: usize,
    /// Bytes on the disk, in all.
    pub bytes: u64,
}

/// What the images of a store are made of.
#[derive(Default)]
pub(super) struct Needed {
    pub(super) layers: BTreeSet<Digest>,
    pub(super) roots: BTreeSet<Digest>,
}

impl Store {
    /// Removes a name, and with its last name the image. An image in use stays, and that is an error.
    pub fn remove(&self, reference: &ImageRef) -> Result<Removed, StoreError> {
        let not_found = || StoreError::NotFound {
            reference: reference.to_string(),
        };
        let (digest, name) = self.find(reference)?.ok_or_else(not_found)?;
        let names = self.names_of(&digest)?;
        let mut removed = Removed::default();
        let gone = match (name, names.len()) {
            (Some(name), 2..) => {
                self.change_names(|names| names.remove(&name))?;
                removed.names = vec![name];
                return Ok(removed);
            }
            (None, 2..) => return Err(StoreError::SeveralNames { digest, names }),
            (_, _) => names,
        };
        match InUse::claim(&self.image_dir(&digest))? {
            Claim::Used => {
                return Err(StoreError::InUse {
                    reference: reference.to_string(),
                    digest,
                });
            }
            Claim::Ours(claim) => self.delete_image(&digest, claim, &mut removed.reclaimed)?,
            // A directory without its lock file was not written by us, or is gone already.
            Claim::Gone => self.discard_image(&digest)?,
        }
        removed.names = gone;
        removed.image = Some(digest);
        // Others may be adding images now; then prune collects the layers later.
        if let Some(_alone) = Lock::try_exclusive(&self.home.join("lock"))? {
            self.collect(&mut removed.reclaimed)?;
        }
        Ok(removed)
    }

    /// Removes images by `scope`, and then what no image needs. Waits a while for pulls to end.
    pub fn prune(&self, scope: PruneScope) -> Result<Reclaimed, StoreError> {
        let _alone = self.lock_alone()?;
        let mut reclaimed = Reclaimed {
            stale: fsutil::sweep(&self.home)?,
            ..Reclaimed::default()
        };
        for digest in self.image_digests()? {
            let is_dangling = self.names_of(&digest)?.is_empty();
            if !is_dangling && scope == PruneScope::Dangling {
                continue;
            }
            match InUse::claim(&self.image_dir(&digest))? {
                Claim::Used => {}
                Claim::Ours(claim) => self.delete_image(&digest, claim, &mut reclaimed)?,
                Claim::Gone => self.discard_image(&digest)?,
            }
        }
        self.collect(&mut reclaimed)?;
        Ok(reclaimed)
    }

    fn names_of(&self, digest: &Digest) -> Result<Vec<String>, StoreError> {
        let names = self.names()?;
        Ok(names
            .into_iter()
            .filter(|(_, entry)| entry.image == *digest)
            .map(|(name, _)| name)
            .collect())
    }

    /// Names first: killed in between, an image without a name is left, which prune removes.
    fn delete_image(
        &self,
        digest: &Digest,
        _claim: InUse,
        reclaimed: &mut Reclaimed,
    ) -> Result<(), StoreError> {
        let bytes = disk_usage(&self.image_dir(digest));
        self.change_names(|names| names.retain(|_, entry| entry.image != *digest))?;
        self.discard_image(digest)?;
        reclaimed.bytes += bytes;
        reclaimed.images.push(*digest);
        Ok(())
    }

    /// Removes layers and roots that no image is made of. The caller holds the store alone.
    fn collect(&self, reclaimed: &mut Reclaimed) -> Result<(), StoreError> {
        let needed = self.needed()?;
        for root in self
            .roots
            .list()?
            .iter()
            .filter(|root| !needed.roots.contains(&root.key))
        {
            let bytes = disk_usage(&root.path);
            if self.roots.remove(&root.key)? {
                reclaimed.roots += 1;
                reclaimed.bytes += bytes;
            }
        }
        for layer in self
            .layers
            .list()?
            .iter()
            .filter(|layer| !needed.layers.contains(&layer.diff_id))
        {
            let bytes = layer.disk_usage().unwrap_or(0);
            if self.layers.remove(&layer.diff_id)? {
                reclaimed.layers += 1;
                reclaimed.bytes += bytes;
            }
        }
        Ok(())
    }

    /// What all images need. A damaged image needs nothing: it cannot be used before it is pulled again.
    pub(super) fn needed(&self) -> Result<Needed, StoreError> {
        let mut needed = Needed::default();
        for digest in self.image_digests()? {
            match self.read_image(&digest) {
                Ok((_, record)) => {
                    needed.layers.extend(record.layers);
                    needed.roots.insert(record.key);
                }
                Err(error) => {
                    tracing::warn!(image = %digest, %error, "a damaged image holds no layers");
                }
            }
        }
        Ok(needed)
    }

    /// Waits until nobody adds images, and keeps it so.
    fn lock_alone(&self) -> Result<Lock, StoreError> {
        let path = self.home.join("lock");
        if let Some(lock) = Lock::try_exclusive(&path)? {
            return Ok(lock);
        }
        // The kernel's locks know no time limit, so a thread waits. One that comes too late gives its lock back.
        let (sender, receiver) = mpsc::sync_channel(0);
        thread::Builder::new()
            .name("store-lock".into())
            .spawn(move || sender.send(Lock::exclusive(&path)))
            .map_err(|source| StoreError::Thread { source })?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(lock) => Ok(lock?),
            Err(_) => Err(StoreError::Busy),
        }
    }
}
