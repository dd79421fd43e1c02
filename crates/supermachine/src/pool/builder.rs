//! How a pool is to be.

use super::Pool;
use super::core::{Core, Settings};
use super::error::PoolError;
use super::memory::Available;
use super::origin::Origin;
use super::state::{Bounds, Fate};
use crate::config::{Retention, VmConfig};
use crate::error::Error;
use std::io;
use std::time::Duration;

/// How a pool is to be: [`crate::Image::pool`], [`crate::Snapshot::pool`].
#[derive(Debug)]
#[must_use = "a pool begins with `build`"]
pub struct PoolBuilder {
    origin: Origin,
    settings: Settings,
}

impl PoolBuilder {
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            settings: Settings {
                bounds: Bounds {
                    min: 1,
                    max: 16,
                    idle_timeout: Duration::from_secs(60),
                },
                acquire_timeout: Duration::from_secs(30),
                after_use: Fate::End,
                config: VmConfig::new(),
                available: Available::of_the_host(),
            },
        }
    }

    /// How many VMs are kept ready beside those in use, 1 by default. With 0 the first is made when it is asked for.
    pub const fn min(mut self, vms: usize) -> Self {
        self.settings.bounds.min = vms;
        self
    }

    /// How many VMs there are at most, in use or not, 16 by default.
    pub const fn max(mut self, vms: usize) -> Self {
        self.settings.bounds.max = vms;
        self
    }

    /// How long a VM that demand has added to `min` may be idle before it ends, a minute by default.
    pub const fn idle_timeout(mut self, idle: Duration) -> Self {
        self.settings.bounds.idle_timeout = idle;
        self
    }

    /// How long [`Pool::acquire`] waits, 30 seconds by default.
    pub const fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.settings.acquire_timeout = timeout;
        self
    }

    /// How each VM is. Without a name, which only one VM can have; without a workload it waits for [`crate::Vm::exec`].
    pub fn config(mut self, config: VmConfig) -> Self {
        self.settings.config = config;
        self
    }

    /// Whether a VM that comes back is replaced by a new one, which it is by default. With `false` it goes out again as
    /// it was left, files, processes and caches included, if its guest still answers.
    pub const fn restore_on_release(mut self, restore: bool) -> Self {
        self.settings.after_use = if restore { Fate::End } else { Fate::Check };
        self
    }

    /// Who says how many bytes of memory there are to spare, instead of `MemAvailable` of the host: in a container with
    /// a limit of its own, that is what counts.
    pub fn memory_available(
        mut self,
        read: impl Fn() -> io::Result<u64> + Send + Sync + 'static,
    ) -> Self {
        self.settings.available = Available::new(read);
        self
    }

    /// Begins to make VMs and does not wait for them; [`Pool::wait_ready`] does.
    pub fn build(self) -> Result<Pool, Error> {
        let Bounds { min, max, .. } = self.settings.bounds;
        if max == 0 || min > max {
            return Err(PoolError::Bounds { min, max }.into());
        }
        let config = &self.settings.config;
        if config.name.is_some() {
            return Err(PoolError::Config("have one name").into());
        }
        if config.storage.has_volumes() {
            return Err(PoolError::Config("share a volume").into());
        }
        if config.retention == Retention::Keep {
            return Err(PoolError::Config("be kept when they have ended").into());
        }
        Pool::begin(Core::new(self.settings, self.origin))
    }
}
