//! The end of a VM: what it was, what the record says of it, who is told.

use super::attachments::Attachments;
use super::boot::Tenure;
use super::estate::{Estate, last_state};
use super::shared::{Order, Outcome};
use super::thread::Supervisor;
use crate::config::Retention;
use crate::deadline::Deadline;
use crate::error::{Error, describe};
use crate::poll;
use crate::record::State;
use crate::session::{Session, SessionError};
use crate::signals::Signal;
use crate::time::unix_nanos;
use crate::vmm::VmmError;
use proto::happening::EventKind;
use proto::session::{Exit, ExitStatus};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

/// How long what the guest sent before its end may take to arrive.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Why a VM comes to its end.
#[derive(Debug)]
pub(super) enum Ending {
    /// Somebody asked for it.
    Asked,
    /// The VMM said why.
    Vmm(VmmError),
    /// The main session broke and the VMM did not say why.
    Session(SessionError),
    /// The workload outlived its timeout and the guest did nothing about it.
    Overdue,
}

/// What it means that a VM is ended by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Force {
    /// A stop took too long, or the guest does not power off after its workload.
    Stop,
    /// The main session broke and the VMM says nothing.
    Broken,
    /// The workload outlived its timeout.
    Overdue,
}

/// What is left to be said when a VM is gone.
pub(super) struct Farewell {
    attachments: Attachments,
    main: Arc<Session>,
    outcome: Outcome,
}

impl Farewell {
    /// Says it to those who are in front of the workload, and waits until they have read all of its output.
    pub(super) fn say(self) {
        self.attachments.dismiss(&self.main, &self.outcome);
    }

    /// As [`Self::say`], while the next life of the VM begins.
    fn say_aside(self) {
        let thread = std::thread::Builder::new().name("farewell".into());
        if let Err(error) = thread.spawn(move || self.say()) {
            tracing::warn!(%error, "who is attached does not hear of the end");
        }
    }
}

impl Supervisor {
    /// The VM is over, or has to be.
    pub(super) fn finish(mut self, ending: Ending) -> Option<Farewell> {
        if matches!(ending, Ending::Vmm(_)) {
            self.drain_main();
        }
        self.vmm.kill();
        // Its address is nobody's from here on.
        self.membership = None;
        if let Some(copying) = self.copying.take() {
            copying.end();
            self.tell_late_news();
        }
        let asked = matches!(ending, Ending::Asked) || self.is_asked_to_end();
        let outcome = self.outcome(ending);
        self.tell_of_the_end(&outcome);
        self.main.abandon();
        if !asked && self.is_to_live_again(&outcome) {
            self.bequeath(outcome);
            return None;
        }
        self.settle(&outcome);
        let mut clients = Some(self.clients);
        if self.entry.record.config.retention == Retention::Remove {
            // Nothing is left of it but a process that has its end; this one may be gone before that is.
            clients
                .take()
                .into_iter()
                .for_each(|clients| clients.dismiss(&outcome));
        }
        self.shared.update(|status| {
            status.outcome = Some(outcome.clone());
            status.settled = true;
        });
        let Self {
            entry,
            mut vmm,
            attachments,
            main,
            ..
        } = self;
        vmm.reap();
        drop(vmm);
        // From here on others may remove the record.
        drop(entry);
        clients
            .into_iter()
            .for_each(|clients| clients.dismiss(&outcome));
        // That it is gone is said when the thread ends, however it does.
        Some(Farewell {
            attachments,
            main,
            outcome,
        })
    }

    /// A copy may have been finished while nobody took orders anymore.
    fn tell_late_news(&mut self) {
        for order in self.shared.take_orders() {
            if let Order::Tell(kind) = order {
                self.tell(kind);
            }
        }
    }

    /// The last event of a life. That the workload exited was told when it did.
    fn tell_of_the_end(&mut self, outcome: &Outcome) {
        let last = match outcome {
            Outcome::Exited(_) if self.exit.is_some() => return,
            Outcome::Exited(exit) => EventKind::Exited(*exit),
            Outcome::Stopped => EventKind::Stopped,
            Outcome::Failed(error) => failure(error),
        };
        self.tell(last);
    }

    fn is_to_live_again(&self, outcome: &Outcome) -> bool {
        let success =
            matches!(outcome, Outcome::Exited(exit) if exit.status == ExitStatus::Code(0));
        let record = &self.entry.record;
        self.tenure == Tenure::Process && record.config.restart.applies(success, record.restarts)
    }

    /// Ends this life only: record, lock and clients go to the next one.
    fn bequeath(mut self, outcome: Outcome) {
        self.entry.record.state = State::Restarting {
            exit: match &outcome {
                Outcome::Exited(exit) => Some(*exit),
                _ => None,
            },
            at_ns: unix_nanos(SystemTime::now()),
        };
        self.note_warnings();
        if let Err(error) = self.entry.save() {
            tracing::warn!(%error, "the record of a VM does not show that it is started again");
        }
        self.shared.update(|status| {
            status.outcome = Some(outcome.clone());
            status.settled = true;
        });
        let Self {
            entry,
            mut vmm,
            mut clients,
            shared,
            attachments,
            main,
            ..
        } = self;
        vmm.reap();
        clients.tell(&outcome);
        Farewell {
            attachments,
            main,
            outcome: outcome.clone(),
        }
        .say_aside();
        shared.leave(Estate {
            entry,
            clients,
            outcome,
        });
    }

    fn note_warnings(&mut self) {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        self.entry.record.warnings.clone_from(&warnings);
    }

    /// Takes what the guest sent before its end; the VMM closes the stream when it goes.
    fn drain_main(&mut self) {
        let deadline = Deadline::after(LAST_OUTPUT);
        while !deadline.has_passed() && !self.is_idle() {
            self.main.pump();
            self.note_main();
            if self.exit.is_some() || self.broken.is_some() {
                return;
            }
            let (socket, flags, _) = self.main.interest();
            poll::any(&[(socket, flags)], deadline);
        }
    }

    fn outcome(&self, ending: Ending) -> Outcome {
        if let Some(exit) = self.exit {
            return Outcome::Exited(exit);
        }
        match ending {
            Ending::Asked => Outcome::Stopped,
            Ending::Vmm(VmmError::PoweredOff { .. })
                if self.stopping.is_some() || self.is_idle() =>
            {
                Outcome::Stopped
            }
            Ending::Vmm(error) => Outcome::Failed(Arc::new(error.into())),
            Ending::Session(error) => Outcome::Failed(Arc::new(error.into())),
            Ending::Overdue => Outcome::Exited(Exit {
                status: ExitStatus::Signal(Signal::KILL.number()),
                duration_us: self
                    .entry
                    .record
                    .config
                    .timeout
                    .map_or(0, |timeout| timeout.as_micros() as u64),
                max_rss_kib: 0,
                timed_out: true,
                out_of_memory: false,
            }),
        }
    }

    /// Brings the record to its last state.
    fn settle(&mut self, outcome: &Outcome) {
        let written = if self.entry.record.config.retention == Retention::Remove {
            self.entry.remove()
        } else {
            self.note_warnings();
            self.entry.record.state = last_state(outcome);
            self.entry.save_last()
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the record of a VM does not show its end");
        }
    }
}

/// How a VM ended that nobody asked to.
fn failure(error: &Error) -> EventKind {
    let told = |reason: &String| reason.clone();
    match error {
        Error::Vmm(VmmError::GuestPanicked { reason, .. }) => EventKind::Panicked {
            reason: told(reason),
        },
        Error::Vmm(VmmError::AgentDied { reason, .. }) => EventKind::AgentDied {
            reason: told(reason),
        },
        Error::Vmm(VmmError::Died { how, .. }) => EventKind::VmmDied { reason: told(how) },
        other => EventKind::Failed {
            message: describe(other),
        },
    }
}
