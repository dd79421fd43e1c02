//! An image in the store, ready to start.

use crate::config::Retention;
use crate::config::VmConfig;
use crate::error::{ConfigError, Error};
use crate::ready::Ready;
use crate::runtime::Runtime;
use crate::snapshots::Snapshot;
use crate::supervisor::{BootImage, Plan, Source};
use crate::vm::Vm;
use crate::workload::ImageDefaults;
use image::{ImageConfig, ImageRef, NoProgress, Platform, PullOptions, StoredImage};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// An image in the store, ready to start any number of times. While it is alive, or a VM of it runs, the store
/// keeps it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Image {
    runtime: Runtime,
    reference: String,
    stored: Arc<StoredImage>,
}

impl Image {
    /// The image of this name, fetched if it is not in the store of [`Runtime::new`].
    pub fn pull(reference: &str) -> Result<Self, Error> {
        Runtime::new()?.pull(reference)
    }

    pub(crate) fn pull_into(runtime: &Runtime, reference: &str) -> Result<Self, Error> {
        let parsed: ImageRef = reference.parse()?;
        let stored = runtime
            .store()?
            .pull(&parsed, &PullOptions::default(), &NoProgress)?;
        Ok(Self::new(runtime, reference, stored))
    }

    pub(crate) fn new(runtime: &Runtime, reference: &str, stored: StoredImage) -> Self {
        Self {
            runtime: runtime.clone(),
            reference: reference.to_owned(),
            stored: Arc::new(stored),
        }
    }

    /// As it was asked for.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The digest of its manifest: `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        self.stored.digest.to_string()
    }

    /// What it asks of whoever runs it.
    pub fn config(&self) -> &ImageConfig {
        &self.stored.config
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Starts a VM of this image and returns when its workload runs, or when it is ready for
    /// [`Vm::exec`] if it has none.
    pub fn start(&self, config: &VmConfig) -> Result<Vm, Error> {
        self.runtime.start(self.checked()?, config)
    }

    /// As [`Self::start`], with somebody in front of the workload from its first byte on.
    pub(crate) fn start_attached(
        &self,
        config: &VmConfig,
        attachment: Option<OwnedFd>,
    ) -> Result<Vm, Error> {
        self.check_platform()?;
        let boot = self.to_boot();
        let plan = Plan::new(self.runtime.state(), &boot, config)?;
        self.runtime
            .launch_attached(boot, plan, Source::Image, attachment)
    }

    /// Starts the workload of this image, waits until it is ready, writes the VM down as a snapshot of this name and
    /// ends it: later starts go on from there. Readiness has `limit`, counted from the start of the workload. Whatever
    /// fails, nothing is left.
    pub fn warm(
        &self,
        config: &VmConfig,
        ready: &Ready,
        limit: Duration,
        name: &str,
    ) -> Result<Snapshot, Error> {
        self.runtime.check_snapshot_name(name)?;
        let vm = self.start(&config.clone().retention(Retention::Remove))?;
        vm.wait_ready(ready, limit)?;
        let snapshot = vm.snapshot(name)?;
        vm.kill()?;
        Ok(snapshot)
    }

    /// What a start needs of it, if it can run here.
    pub(crate) fn checked(&self) -> Result<BootImage, Error> {
        self.check_platform()?;
        Ok(self.to_boot())
    }

    pub(crate) fn to_boot(&self) -> BootImage {
        BootImage {
            reference: self.reference.clone(),
            digest: self.digest(),
            defaults: ImageDefaults::from(&self.stored.config),
            root: self.stored.root.clone(),
            guard: Arc::clone(&self.stored) as _,
        }
    }

    /// An image that says nothing about its platform gets the benefit of the doubt.
    fn check_platform(&self) -> Result<(), ConfigError> {
        let host = Platform::host();
        match self.stored.config.platform() {
            Some(platform)
                if (&platform.os, &platform.architecture) != (&host.os, &host.architecture) =>
            {
                Err(ConfigError::Platform {
                    image: platform.to_string(),
                    host: host.to_string(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl From<&ImageConfig> for ImageDefaults {
    fn from(config: &ImageConfig) -> Self {
        Self {
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            env: config.env.clone(),
            user: config.user.clone(),
            working_dir: config.working_dir.clone(),
            stop_signal: config.stop_signal.clone(),
            labels: config.labels.clone(),
            healthcheck: config.healthcheck.clone(),
            shell: config.shell.clone(),
        }
    }
}
