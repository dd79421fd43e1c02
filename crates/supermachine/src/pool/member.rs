//! A VM of a pool.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::reach::Reach;
use crate::session::SessionError;
use crate::supervisor::{Order, Outcome};
use crate::vm::Vm;
use std::sync::Arc;
use std::time::Duration;

/// How long the agent of a VM that was used may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A VM of a pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) vm: Vm,
    /// No other VM of the pool had or will have it.
    pub(super) serial: u64,
}

/// What is known of a VM's life without a word of its guest.
#[derive(Debug)]
pub(super) struct Pulse(Reach);

impl Pulse {
    /// Whether the VM has not ended, as far as its supervisor and its socket know.
    pub(super) fn is_alive(&self) -> bool {
        let Reach::Local { connector, shared } = &self.0 else {
            return true;
        };
        let over = shared.wait(Deadline::after(Duration::ZERO), |status| {
            let ended = status.outcome.is_some() || status.exit.is_some();
            (ended || status.failure.is_some()).then_some(())
        });
        over.is_err() && !connector.has_hung_up()
    }

    /// What the VM has died of, if that is known.
    pub(super) fn last_words(&self) -> Option<Arc<Error>> {
        let Reach::Local { shared, .. } = &self.0 else {
            return None;
        };
        let known = shared.wait(Deadline::after(Duration::ZERO), |status| {
            match (&status.failure, &status.outcome) {
                (Some(error), _) | (None, Some(Outcome::Failed(error))) => Some(Arc::clone(error)),
                _ => None,
            }
        });
        known.ok()
    }
}

impl Member {
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(self.vm.reach().clone())
    }

    /// Whether the guest starts processes. A directory is no program, in whatever image: that the guest says so, or what
    /// else it does not like about the request, is all that is wanted.
    pub(super) fn examine(&self) -> Result<(), Arc<Error>> {
        let deadline = Deadline::after(ANSWER);
        let answer = self
            .vm
            .exec_builder()
            .argv(["/"])
            .deadline(deadline)
            .output();
        match answer {
            Err(error) if !is_verdict(&error) => Err(Arc::new(error)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Has `tell` called with what the VM died of when it has ended.
    pub(super) fn watch(&self, tell: impl FnOnce(Option<Arc<Error>>) + Send + 'static) {
        if let Reach::Local { shared, .. } = self.vm.reach() {
            shared.watch(|outcome| {
                tell(match outcome {
                    Outcome::Failed(error) => Some(Arc::clone(error)),
                    Outcome::Exited(_) | Outcome::Stopped => None,
                });
            });
        }
    }

    /// Tells the VM to end, and does not wait for it.
    pub(super) fn doom(&self) {
        if let Reach::Local { shared, .. } = self.vm.reach() {
            shared.order(Order::Kill);
        }
    }

    /// Ends the VM and waits until nothing is left of it.
    pub(super) fn end(self) {
        if let Err(error) = self.vm.kill() {
            tracing::warn!(%error, vm = self.vm.name(), "a VM of a pool does not end");
        }
    }

    /// The process around the VM.
    pub(super) fn pid(&self) -> u32 {
        match self.vm.reach() {
            Reach::Local { connector, .. } => connector.pid(),
            Reach::Remote(_) => unreachable!("a pool supervises its VMs itself"),
        }
    }
}

/// Whether an error is what a guest that is well says of a program it cannot run.
const fn is_verdict(error: &Error) -> bool {
    match error {
        Error::Session(SessionError::Guest(failure)) => {
            matches!(failure.kind.exit_code(), 126 | 127)
        }
        _ => false,
    }
}
