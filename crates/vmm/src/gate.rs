//! Holds a worker back while the VM is paused.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A gate that a worker passes before each batch.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    inside: usize,
}

/// Proof that a worker is inside; leaving is dropping it.
pub struct Inside<'a>(&'a Gate);

impl Gate {
    /// Enters, once the gate is open.
    pub fn enter(&self) -> Inside<'_> {
        let mut state = self.lock();
        while state.closed {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.inside += 1;
        Inside(self)
    }

    /// Closes the gate and waits until everyone has left.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        while state.inside > 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Opens it again.
    pub fn open(&self) {
        self.lock().closed = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.lock().inside -= 1;
        self.0.changed.notify_all();
    }
}
