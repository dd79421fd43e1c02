//! Everybody who waits for one socket.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Everybody who waits for one socket: the runtime remembers one waker for each direction, and this is it.
#[derive(Debug, Default)]
pub(super) struct Hub(Mutex<Vec<Waker>>);

impl Hub {
    /// Wakes this one too the next time.
    pub(super) fn register(&self, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    /// Wakes everybody.
    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Hub {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }
}
