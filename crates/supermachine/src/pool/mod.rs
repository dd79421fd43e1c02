//! VMs made ahead of time, so that having a clean one takes microseconds.
//!
//! A VM that was used is not cleaned but replaced: one more is restored from the template or the snapshot, in the
//! background, and the used one ends there too. So whoever gets a VM waits for neither, as long as one is ready.
//!
//! Threads of a pool: makers, which restore VMs, and a keeper, which waits for the end of those that are not wanted any
//! more. What is done next is decided in one place, [`state`], under one lock that nobody holds for long. The VMs end
//! with the process, as all do.

mod builder;
mod core;
mod error;
mod member;
mod memory;
mod origin;
mod pooled;
mod seat;
mod state;
mod stats;
mod trouble;

pub use builder::PoolBuilder;
pub use error::PoolError;
pub use pooled::PooledVm;
pub use stats::PoolStats;

use self::core::Core;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::handle::Image;
use crate::snapshots::Snapshot;
use origin::Origin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// More threads than this gain nothing: a restore keeps a CPU busy.
const MOST_MAKERS: usize = 8;

/// VMs made ahead of time. Cheap to clone; every method may be called from any thread. When the last clone is dropped,
/// the VMs that nobody uses end, and those in use live until they are given back.
#[derive(Debug, Clone)]
pub struct Pool {
    threads: Arc<Threads>,
}

/// The threads of a pool; they end with the value, and with them what nobody uses.
#[derive(Debug)]
struct Threads {
    core: Arc<Core>,
    handles: Vec<JoinHandle<()>>,
}

impl Image {
    /// A pool of VMs of this image.
    pub fn pool(&self) -> PoolBuilder {
        PoolBuilder::new(Origin::Image(self.clone()))
    }
}

impl Snapshot {
    /// A pool of VMs that go on from this snapshot, each with an identity of its own.
    pub fn pool(&self) -> PoolBuilder {
        let memory_mib = self.info().memory_mib;
        PoolBuilder::new(Origin::Snapshot(Box::new(self.clone()), memory_mib))
    }
}

impl Pool {
    fn begin(core: Core) -> Result<Self, Error> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let makers = cpus.min(core.settings.bounds.max).min(MOST_MAKERS);
        let core = Arc::new(core);
        let mut threads = Threads {
            core,
            handles: Vec::new(),
        };
        threads.spawn("pool keeper", Core::keep)?;
        for _ in 0..makers {
            threads.spawn("pool maker", Core::make_and_check)?;
        }
        Ok(Self {
            threads: Arc::new(threads),
        })
    }

    /// A clean VM: one that nobody used before, unless [`PoolBuilder::restore_on_release`] is off. Whoever asks first is
    /// served first. Waits for [`PoolBuilder::acquire_timeout`].
    ///
    /// When no VM can be made, all who wait are told the reason at once as [`Error::Shared`]; those who come later wait
    /// for the next attempt. A VM that lacks only memory is waited for.
    pub fn acquire(&self) -> Result<PooledVm, Error> {
        self.acquire_deadline(self.core().settings.acquire_timeout)
    }

    /// As [`Self::acquire`], until a deadline: one that has passed takes what is ready.
    pub fn acquire_deadline(&self, deadline: impl Into<Deadline>) -> Result<PooledVm, Error> {
        let core = self.core();
        let member = core.acquire(deadline.into())?;
        Ok(PooledVm::new(Arc::clone(core), member))
    }

    /// Waits until [`PoolBuilder::min`] VMs are ready, or until one could not be made.
    pub fn wait_ready(&self, deadline: impl Into<Deadline>) -> Result<(), Error> {
        self.core().wait_ready(deadline.into())
    }

    /// The pool in figures.
    pub fn stats(&self) -> PoolStats {
        let state = self.core().state();
        PoolStats::new(&state.standing(), &state.counts)
    }

    fn core(&self) -> &Arc<Core> {
        &self.threads.core
    }
}

impl Threads {
    fn spawn(&mut self, name: &str, work: fn(&Arc<Core>)) -> Result<(), Error> {
        let core = Arc::clone(&self.core);
        let thread = thread::Builder::new().name(name.to_owned());
        let handle = thread.spawn(move || work(&core)).map_err(Error::Thread)?;
        self.handles.push(handle);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.core.close();
        for handle in self.handles.drain(..) {
            // A thread that panicked has said so.
            let _ = handle.join();
        }
        // If it has.
        self.core.end_what_is_there();
    }
}
