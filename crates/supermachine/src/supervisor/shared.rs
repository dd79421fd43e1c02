//! What a VM's handle and its supervisor's thread share.

use super::estate::Estate;
use super::journal::Journal;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::health::Health;
use crate::session::TimedOut;
use crate::signals::Signal;
use proto::happening::EventKind;
use proto::session::Exit;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a handle asks of the supervisor.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// End the workload, after the grace period by force.
    Stop {
        /// Instead of the configured stop signal.
        signal: Option<Signal>,
        /// How long to wait.
        grace: Duration,
    },
    /// A test of the workload's health is over.
    Health(Box<Health>),
    /// Tell this to whoever is interested.
    Tell(EventKind),
    /// End the VM at once.
    Kill,
    /// The handle goes: let a workload that has ended reach the disk if it is kept, end anything else.
    Close,
}

/// How a VM ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// Its workload ended.
    Exited(Exit),
    /// It was ended from outside.
    Stopped,
    /// It failed.
    Failed(Arc<Error>),
}

/// How far a VM has come. Later marks imply the earlier ones, but for the exit.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// The workload's exit, known before the VM has ended.
    pub(crate) exit: Option<Exit>,
    /// The workload could not be started, and the VM stays all the same.
    pub(crate) failure: Option<Arc<Error>>,
    /// The VM has ended.
    pub(crate) outcome: Option<Outcome>,
    /// Its vCPUs stand still.
    pub(crate) paused: bool,
    /// Its record is written or removed.
    pub(crate) settled: bool,
    /// Its process is gone and its record is free.
    pub(crate) gone: bool,
    /// Nobody is in front of its workload anymore either.
    pub(crate) left: bool,
}

/// Somebody to be told that the VM has ended.
type Watcher = Box<dyn FnOnce(&Outcome) + Send>;

/// What a VM's handle and its supervisor's thread share.
pub(crate) struct Shared {
    status: Mutex<Status>,
    changed: Condvar,
    watchers: Mutex<Vec<Watcher>>,
    orders: Mutex<Vec<Order>>,
    /// What is left for another life, if there is to be one.
    estate: Mutex<Option<Box<Estate>>>,
    journal: Arc<Journal>,
    wake: OwnedFd,
}

impl Shared {
    pub(crate) fn new(journal: Arc<Journal>) -> Result<Self, Errno> {
        Ok(Self {
            status: Mutex::default(),
            changed: Condvar::new(),
            watchers: Mutex::default(),
            orders: Mutex::default(),
            estate: Mutex::default(),
            journal,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the supervisor.
    pub(crate) fn order(&self, order: Order) {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(order);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// What happened so far. A change is followed by one of the status.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(super) fn take_orders(&self) -> Vec<Order> {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves what another life needs; before the VM is gone.
    pub(super) fn leave(&self, estate: Estate) {
        *self.estate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(estate));
    }

    /// What the VM left when it was gone, if it is to be started again.
    pub(crate) fn inherit(&self) -> Option<Box<Estate>> {
        self.estate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.lock();
        change(&mut status);
        let outcome = status.outcome.clone();
        drop(status);
        self.changed.notify_all();
        self.tell_watchers(outcome);
    }

    /// Has `tell` called once when the VM has ended, by the thread that finds out: at once if it has already. It may
    /// not wait for anything of this VM.
    pub(crate) fn watch(&self, tell: impl FnOnce(&Outcome) + Send + 'static) {
        self.watchers().push(Box::new(tell));
        let outcome = self.lock().outcome.clone();
        self.tell_watchers(outcome);
    }

    fn tell_watchers(&self, outcome: Option<Outcome>) {
        let Some(outcome) = outcome else { return };
        let watchers = std::mem::take(&mut *self.watchers());
        for tell in watchers {
            tell(&outcome);
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `want` sees what it waits for.
    pub(crate) fn wait<T>(
        &self,
        deadline: Deadline,
        mut want: impl FnMut(&Status) -> Option<T>,
    ) -> Result<T, TimedOut> {
        let mut status = self.lock();
        loop {
            if let Some(wanted) = want(&status) {
                return Ok(wanted);
            }
            if deadline.has_passed() {
                return Err(TimedOut);
            }
            status = match deadline.remaining() {
                None => self
                    .changed
                    .wait(status)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.changed
                        .wait_timeout(status, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_watcher_is_told_of_the_end_once_however_late_it_comes() {
        let shared = Shared::new(Arc::default()).unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let watch = || {
            let told = Arc::clone(&told);
            shared.watch(move |_| {
                told.fetch_add(1, Ordering::Relaxed);
            });
        };
        watch();
        shared.update(|status| status.settled = false);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        shared.update(|status| status.outcome = Some(Outcome::Stopped));
        shared.update(|status| status.gone = true);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        watch();
        assert_eq!(told.load(Ordering::Relaxed), 2);
    }
}
