//! The place of one who waits for a VM.

use crate::error::Error;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What somebody who waits is given: a VM, or why there is none.
pub(super) type Gift<V> = Result<V, Arc<Error>>;

/// The place of one who waits.
#[derive(Debug)]
pub(super) struct Seat<V> {
    gift: Mutex<Option<Gift<V>>>,
    pub(super) given: Condvar,
}

/// Where one who waits begins to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Behind everybody else.
    Last,
    /// Ahead of everybody: the turn had come already, for a VM that was dead.
    First,
}

impl<V> Seat<V> {
    pub(super) const fn new() -> Self {
        Self {
            gift: Mutex::new(None),
            given: Condvar::new(),
        }
    }

    pub(super) fn give(&self, gift: Gift<V>) {
        *self.gift.lock().unwrap_or_else(PoisonError::into_inner) = Some(gift);
        self.given.notify_one();
    }

    /// What was given.
    pub(super) fn take(&self) -> Option<Gift<V>> {
        self.gift
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
