//! Bringing an image into the store.
//!
//! Reference -> document -> manifest for the platform -> config -> layers, several at once, each a
//! stream from its source through the checks into the layer store -> root -> image. Nothing is kept
//! of the compressed blobs. What is in the store already is not read again: not the layers of other
//! images, and nothing at all of an image whose manifest is there.
mod error;
mod layers;
mod rootfs;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use error::PullError;

use crate::cancel::{Cancel, Patience};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::layer::{Layer, Limits};
use crate::manifest::{CONFIG_LIMIT, Manifest, ManifestError, Selected};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::reference::ImageRef;
use crate::registry::RegistryOptions;
use crate::source::{self, Source};
use crate::store::{NameEntry, NewImage, Store, StoreError, StoredImage};

/// When to ask a registry for an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// If the store has none of this name. Layouts, archives and directories are always looked at:
    /// that costs little, and they may have changed.
    #[default]
    Missing,
    /// Always; only what changed is fetched.
    Always,
    /// Never.
    Never,
}

/// How to pull.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// When to ask.
    pub policy: PullPolicy,
    /// The platform wanted, if it is not this host's.
    pub platform: Option<Platform>,
    /// How to reach registries.
    pub registry: RegistryOptions,
    /// How many layers are fetched at once.
    pub parallel: usize,
    /// How much a layer may ask of us.
    pub limits: Limits,
    /// How long the whole may take.
    pub deadline: Option<Duration>,
    /// Ends the pull early.
    pub cancel: Cancel,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            policy: PullPolicy::default(),
            platform: None,
            registry: RegistryOptions::from_environment(),
            parallel: 3,
            limits: Limits::default(),
            deadline: Some(Duration::from_secs(3600)),
            cancel: Cancel::new(),
        }
    }
}

impl Store {
    /// Returns the image a reference means, after fetching what of it is not in the store.
    pub fn pull(
        &self,
        reference: &ImageRef,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<StoredImage, PullError> {
        let _adding = self.lock_adding()?;
        let patience = Patience {
            cancel: options.cancel.clone(),
            deadline: options
                .deadline
                .and_then(|time| Instant::now().checked_add(time)),
        };
        patience.check()?;
        let pull = Pull {
            store: self,
            reference,
            name: self.name_of(reference)?,
            platform: options.platform.clone().unwrap_or_else(Platform::host),
            options,
            patience,
            progress,
        };
        if let Some(image) = pull.at_hand()? {
            return Ok(image);
        }
        match reference {
            _ if options.policy == PullPolicy::Never => Err(pull.not_here()),
            ImageRef::Id(_) => Err(pull.not_here()),
            ImageRef::Rootfs { dir } => pull.directory(dir),
            _ => pull.fetch(),
        }
    }
}

/// One pull in progress.
struct Pull<'a> {
    store: &'a Store,
    reference: &'a ImageRef,
    /// What the image will be found by.
    name: String,
    platform: Platform,
    options: &'a PullOptions,
    patience: Patience,
    progress: &'a dyn Progress,
}

impl Pull<'_> {
    /// The image, if the store's word for it is enough.
    fn at_hand(&self) -> Result<Option<StoredImage>, PullError> {
        let suffices = match (self.options.policy, self.reference) {
            (PullPolicy::Never, _) | (_, ImageRef::Id(_)) => true,
            (PullPolicy::Missing, ImageRef::Registry(_)) => true,
            (PullPolicy::Missing | PullPolicy::Always, _) => false,
        };
        if !suffices {
            return Ok(None);
        }
        match self.store.get(self.reference) {
            Ok(Some(image)) if self.fits(&image.config) => Ok(Some(image)),
            Ok(Some(image)) if self.options.policy == PullPolicy::Never => {
                Err(self.wrong_platform(&image.config))
            }
            Ok(_) => Ok(None),
            // What can be fetched again heals itself.
            Err(StoreError::Damaged { digest, source })
                if self.options.policy != PullPolicy::Never =>
            {
                tracing::warn!(image = %digest, error = %source, "the stored image is damaged");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn fits(&self, config: &ImageConfig) -> bool {
        config
            .platform()
            .is_none_or(|platform| platform.fitness(&self.platform).is_some())
    }

    fn wrong_platform(&self, config: &ImageConfig) -> PullError {
        let available = config
            .platform()
            .map(|platform| platform.to_string())
            .unwrap_or_default();
        self.source_error(ManifestError::Platform {
            wanted: self.platform.clone(),
            available,
        })
    }

    fn not_here(&self) -> PullError {
        PullError::NotPresent {
            reference: self.reference.to_string(),
        }
    }

    fn source_error(&self, source: impl Into<source::SourceError>) -> PullError {
        PullError::source(self.reference, source.into())
    }

    fn fetch(&self) -> Result<StoredImage, PullError> {
        // Our own, so that the failure of one layer can end the others.
        let work = Patience {
            cancel: Cancel::new(),
            deadline: self.patience.deadline,
        };
        let to_cancel = work.cancel.clone();
        let _link = self.patience.cancel.on_cancel(move || to_cancel.cancel());
        match self.reference {
            // A server may be silent; what is on this machine answers.
            ImageRef::Registry(_) => work.guard(|| self.fetch_within(&work)),
            _ => self.fetch_within(&work),
        }
    }

    fn fetch_within(&self, work: &Patience) -> Result<StoredImage, PullError> {
        let failed = |error| self.source_error(error);
        let opened = source::open(
            self.reference,
            &self.options.registry,
            work,
            self.store.home(),
        );
        let source = opened.map_err(failed)?.ok_or_else(|| self.not_here())?;
        if let Some(image) = self.unchanged(source.as_ref())? {
            return Ok(image);
        }
        let (start, selected) = source::resolve(source.as_ref(), &self.platform).map_err(failed)?;
        if let Some(image) = self.in_store(&selected.digest, &start)? {
            return Ok(image);
        }
        let bytes = source
            .small_blob(&selected.manifest.config, CONFIG_LIMIT)
            .map_err(failed)?;
        let config = ImageConfig::parse(&bytes).map_err(|error| self.source_error(error))?;
        self.check(&selected.manifest, &config)?;
        self.progress
            .image(&selected.digest, layers::unique(&config).len());
        let layers = self.bring_layers(source.as_ref(), &selected.manifest, &config, work)?;
        self.publish(&selected, &bytes, &layers, start)
    }

    /// The image, if the registry says that the name still stands for it.
    fn unchanged(&self, source: &dyn Source) -> Result<Option<StoredImage>, PullError> {
        let Some(entry) = self.store.names()?.get(&self.name).cloned() else {
            return Ok(None);
        };
        // Whoever fails here will fail again where the error matters.
        if source.peek().ok().flatten() != Some(entry.source) {
            return Ok(None);
        }
        match self.store.load(&entry.image, None) {
            Ok(Some(image)) if self.fits(&image.config) => {
                self.in_store(&entry.image, &entry.source)
            }
            // Another platform of the same index, or damaged.
            _ => Ok(None),
        }
    }

    /// The image, if it is in the store whole; it then has this name too.
    fn in_store(&self, digest: &Digest, start: &Digest) -> Result<Option<StoredImage>, PullError> {
        match self.store.load(digest, Some(self.name.clone())) {
            Ok(Some(image)) if self.fits(&image.config) => {
                self.store
                    .set_name(&self.name, self.entry(*digest, *start))?;
                Ok(Some(image))
            }
            Ok(Some(image)) => Err(self.wrong_platform(&image.config)),
            Ok(None) => Ok(None),
            Err(StoreError::Damaged { source, .. }) => {
                tracing::warn!(image = %digest, error = %source, "replacing a damaged image");
                self.store.discard_image(digest).map_err(StoreError::from)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn entry(&self, image: Digest, source: Digest) -> NameEntry {
        // A clock before 1970 is no reason to fail.
        let pulled = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        NameEntry {
            image,
            source,
            pulled,
        }
    }

    fn check(&self, manifest: &Manifest, config: &ImageConfig) -> Result<(), PullError> {
        if !self.fits(config) {
            return Err(self.wrong_platform(config));
        }
        if manifest.layers.len() != config.diff_ids.len() {
            return Err(PullError::LayerCount {
                reference: self.reference.to_string(),
                layers: manifest.layers.len(),
                diff_ids: config.diff_ids.len(),
            });
        }
        Ok(())
    }

    fn publish(
        &self,
        selected: &Selected,
        config: &[u8],
        layers: &[Layer],
        start: Digest,
    ) -> Result<StoredImage, PullError> {
        let begin = Instant::now();
        let digest = selected.digest;
        self.store.publish(&NewImage {
            digest,
            manifest: &selected.bytes,
            config,
            layers,
        })?;
        self.progress.composed(begin.elapsed());
        self.store.set_name(&self.name, self.entry(digest, start))?;
        let image = self.store.load(&digest, Some(self.name.clone()))?;
        // Only `remove` could have been faster, on purpose.
        image.ok_or_else(|| self.not_here())
    }
}

/// Set when one of several workers fails, so that the others end and only its error is reported.
#[derive(Default)]
struct FirstFailure {
    is_set: AtomicBool,
}

impl FirstFailure {
    /// `true` for the first caller only.
    fn claim(&self) -> bool {
        !self.is_set.swap(true, Ordering::SeqCst)
    }
}
