//! Ending a pull early: on request, at a deadline, or because another part of it failed.
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Ends what it was given to when [`Cancel::cancel`] is called on any of its clones.
#[derive(Clone, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    hooks: Vec<(u64, Hook)>,
    next_hook: u64,
}

type Hook = Box<dyn Fn() + Send>;

/// Keeps a hook registered; dropping it removes the hook.
pub(crate) struct HookGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Cancel {
    /// One that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the work. Calling it again changes nothing.
    pub fn cancel(&self) {
        let hooks = {
            let mut state = self.lock();
            state.cancelled = true;
            std::mem::take(&mut state.hooks)
        };
        self.shared.changed.notify_all();
        for (_, hook) in hooks {
            hook();
        }
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Calls `hook` once on cancellation; at once if that has happened already.
    pub(crate) fn on_cancel(&self, hook: impl Fn() + Send + 'static) -> HookGuard {
        let mut state = self.lock();
        let id = state.next_hook;
        state.next_hook += 1;
        if state.cancelled {
            drop(state);
            hook();
        } else {
            state.hooks.push((id, Box::new(hook)));
        }
        HookGuard {
            shared: Arc::clone(&self.shared),
            id,
        }
    }

    /// Waits, but not beyond a cancellation.
    fn wait(&self, time: Duration) {
        let state = self.lock();
        let _unused = self
            .shared
            .changed
            .wait_timeout_while(state, time, |state| !state.cancelled)
            .unwrap_or_else(PoisonError::into_inner);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after every statement that holds the lock.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.hooks.retain(|(id, _)| *id != self.id);
    }
}

/// Why work ended before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// Someone asked for it.
    #[error("cancelled")]
    Cancelled,
    /// It took longer than it was given.
    #[error("the time given for it is over")]
    Deadline,
}

/// How long work may go on.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    pub(crate) cancel: Cancel,
    pub(crate) deadline: Option<Instant>,
}

impl Patience {
    /// Fails if the work should end now.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        // The deadline ends work by a cancellation, so it is looked at first.
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Interrupted::Deadline),
            _ if self.cancel.is_cancelled() => Err(Interrupted::Cancelled),
            _ => Ok(()),
        }
    }

    /// Does `work`, and cancels it at the deadline, so that nothing has to wait with an eye on the clock.
    pub(crate) fn guard<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(deadline) = self.deadline else {
            return work();
        };
        let done = Cancel::new();
        thread::scope(|scope| {
            // Also when `work` panics: the scope waits for the timer.
            let _end = CancelOnDrop(&done);
            let timer = thread::Builder::new().name("deadline".into());
            // Without a timer the deadline is noticed at the next read.
            let _unused = timer.spawn_scoped(scope, || {
                done.wait(deadline.saturating_duration_since(Instant::now()));
                if !done.is_cancelled() {
                    self.cancel.cancel();
                }
            });
            work()
        })
    }

    /// Waits. Fails at once if the deadline would pass meanwhile, or on cancellation.
    pub(crate) fn pause(&self, time: Duration) -> Result<(), Interrupted> {
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() + time >= deadline)
        {
            return Err(Interrupted::Deadline);
        }
        self.cancel.wait(time);
        self.check()
    }
}

struct CancelOnDrop<'a>(&'a Cancel);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn hooks_run_once_and_not_after_their_guard_is_gone() {
        let count = Arc::new(AtomicU32::new(0));
        let add = |n: u32| {
            let count = Arc::clone(&count);
            move || {
                count.fetch_add(n, Ordering::SeqCst);
            }
        };
        let cancel = Cancel::new();
        drop(cancel.on_cancel(add(1)));
        let _kept = cancel.on_cancel(add(10));
        cancel.cancel();
        cancel.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 10);
        let _late = cancel.on_cancel(add(100));
        assert_eq!(count.load(Ordering::SeqCst), 110);
    }

    #[test]
    fn a_pause_ends_with_the_cancellation_and_never_passes_the_deadline() {
        let cancel = Cancel::new();
        let patience = Patience {
            cancel: cancel.clone(),
            deadline: None,
        };
        let waiter = thread::spawn(move || patience.pause(Duration::from_secs(3600)));
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), Err(Interrupted::Cancelled));

        let soon = Patience {
            cancel: Cancel::new(),
            deadline: Some(Instant::now() + Duration::from_secs(60)),
        };
        assert_eq!(
            soon.pause(Duration::from_secs(3600)),
            Err(Interrupted::Deadline)
        );
        assert_eq!(soon.check(), Ok(()));
    }

    #[test]
    fn a_guarded_wait_ends_at_the_deadline() {
        let over = Patience {
            cancel: Cancel::new(),
            deadline: Some(Instant::now()),
        };
        over.guard(|| over.cancel.wait(Duration::from_secs(3600)));
        assert_eq!(over.check(), Err(Interrupted::Deadline));

        let early = Patience {
            cancel: Cancel::new(),
            deadline: Some(Instant::now() + Duration::from_secs(3600)),
        };
        assert_eq!(early.guard(|| 7), 7);
        assert_eq!(early.check(), Ok(()));
    }
}
