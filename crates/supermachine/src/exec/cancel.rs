//! Ending processes from anywhere.

use crate::session::Session;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Ends processes from any thread. Clones end the same ones: those that were started with it
/// ([`super::ExecBuilder::canceler`]) and those that are yet to be. A process is killed with its process group, and
/// whoever waits for it or reads from it gets [`crate::SessionError::Canceled`].
#[derive(Debug, Clone, Default)]
pub struct Canceler(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    canceled: bool,
    sessions: Vec<Weak<Session>>,
}

impl Canceler {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of(session: &Arc<Session>) -> Self {
        let canceler = Self::new();
        canceler.watch(session);
        canceler
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends this one too when the time comes, or at once if it has come.
    pub(crate) fn watch(&self, session: &Arc<Session>) {
        let mut watched = self.lock();
        watched
            .sessions
            .retain(|session| session.strong_count() > 0);
        watched.sessions.push(Arc::downgrade(session));
        if watched.canceled {
            session.cancel();
        }
    }

    /// Ends them. Those that have ended stay as they are.
    pub fn cancel(&self) {
        let mut watched = self.lock();
        watched.canceled = true;
        let live = watched
            .sessions
            .drain(..)
            .filter_map(|session| session.upgrade());
        live.for_each(|session| session.cancel());
    }
}
