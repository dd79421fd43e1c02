//! The end of the workload and of the machine.

use super::{Agent, Machine, Workload};
use crate::failure::failure;
use crate::reaper::Order;
use crate::sys::{process, signal, socket};
use proto::session::{Failure, FailureKind};
use std::time::{Duration, Instant};

/// How long the host has to take the last frame and hang up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the host has to read the rest of the output when it was the host that asked for the end.
const LAST_OUTPUT: Duration = Duration::from_secs(10);
/// How long killed processes have to be gone.
const DYING: Duration = Duration::from_secs(5);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// Nobody wants to stop.
    No,
    /// The workload has its signal; it is killed at this moment, if that can be expressed at all.
    Asked(Option<Instant>),
    /// The workload has ended; the host has until this moment to read the rest of its output.
    Draining(Instant),
    /// Everything is over; the host has until this moment to take what was sent.
    LastWords(Instant),
    /// Now.
    Now,
}

impl Stopping {
    /// When something has to be done.
    pub const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asked(at) => at,
            Self::Draining(at) | Self::LastWords(at) => Some(at),
            Self::No | Self::Now => None,
        }
    }
}

impl Agent {
    /// Ends the workload in its own time, or the machine at once if there is none.
    pub(super) fn shut_down(&mut self, signal: i32, grace_ms: u64) -> Result<(), Failure> {
        if !(1..=signal::MAX).contains(&signal) {
            return Err(failure(
                FailureKind::Request,
                format!("there is no signal {signal}"),
            ));
        }
        match self.workload {
            Workload::Running { .. } => {
                self.stopping =
                    Stopping::Asked(Instant::now().checked_add(Duration::from_millis(grace_ms)));
                self.signal_workload(signal);
            }
            Workload::None | Workload::Ended { .. } => self.stopping = Stopping::Now,
        }
        Ok(())
    }

    /// Signals the workload, wherever it is.
    pub(super) fn signal_workload(&mut self, signal: i32) {
        let done = self
            .main
            .and_then(|id| self.running(id))
            .map(|running| running.signal(signal));
        match (self.workload, done) {
            (Workload::Running { .. }, Some(true)) => {}
            (Workload::Running { first: true }, _) => process::kill(self.reaper.pid, signal),
            // A reaper that cannot be told is gone, which is noticed elsewhere.
            (Workload::Running { first: false }, _) => {
                drop(self.reaper.order(&Order::Signal(signal), None));
            }
            (Workload::None | Workload::Ended { .. }, _) => {}
        }
    }

    /// Kills the workload with its whole process group.
    pub(super) fn kill_workload_group(&mut self) {
        match self.workload {
            Workload::Running { first: true } => {
                process::kill_group(self.reaper.pid, libc::SIGKILL);
            }
            Workload::Running { first: false } => drop(self.reaper.order(&Order::KillGroup, None)),
            Workload::None | Workload::Ended { .. } => {}
        }
    }

    /// The machine ends as soon as the host has taken the last frames, or has had time to.
    pub(super) fn end_when_told(&mut self) {
        if self.stopping != Stopping::Now {
            self.stopping = Stopping::LastWords(Instant::now() + LAST_WORDS);
        }
    }

    /// A host that asked for the end does not get to put it off by not reading.
    pub(super) fn drain_before_stop(&mut self) {
        if matches!(self.stopping, Stopping::Asked(_)) {
            self.stopping = Stopping::Draining(Instant::now() + LAST_OUTPUT);
        }
    }

    /// Does what is due at this moment.
    pub(super) fn proceed_with_stop(&mut self, now: Instant) {
        match self.stopping {
            Stopping::Asked(Some(at)) if at <= now => {
                self.stopping = Stopping::Asked(None);
                self.signal_workload(libc::SIGKILL);
            }
            Stopping::Draining(at) | Stopping::LastWords(at) if at <= now => {
                self.stopping = Stopping::Now;
            }
            _ => {}
        }
    }

    /// Leaves nothing running and nothing unwritten. PID 1 does the rest when the agent has ended.
    pub(super) fn end_machine(&mut self) {
        // Without the kill there is nothing better than going on.
        let _ = self.cgroup.kill_all();
        self.wait_for_namespace(Instant::now() + DYING);
        if let Machine::Up(machine) = &self.machine {
            // PID 1 syncs in any case; this only spares the next mount a journal replay.
            let _ = machine.close();
        }
    }

    /// The reaper is the last of its namespace to be reaped.
    fn wait_for_namespace(&self, until: Instant) {
        if self.reaper.gone {
            return;
        }
        loop {
            while let Some(ended) = process::reap(process::Patience::None) {
                if ended.pid == self.reaper.pid {
                    return;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            let timeout = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
            if left.is_zero()
                || socket::wait_for_either(&self.child_ends, &self.child_ends, timeout).is_err()
            {
                return;
            }
            signal::clear(&self.child_ends);
        }
    }
}
