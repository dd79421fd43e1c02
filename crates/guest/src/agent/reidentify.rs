//! Becoming another machine, in a copy that a host has restored or forked.
//!
//! Whatever of the old life still waits for its host must not be mistaken for the new one's: its connections are
//! closed here and its requests dropped. Its processes are the copy's own and live on.

use super::stop::Stopping;
use super::token::{Part, SessionId, Token};
use super::{Agent, Machine, Workload};
use crate::failure::{Context, failure};
use crate::sys::epoll::Interest;
use proto::session::{Event, Failure, FailureKind, Identity};

/// Stands for a workload that is not there: the first process of the namespace.
pub const NO_WORKLOAD: i32 = 1;

impl Agent {
    /// Takes the identity on, hands the workload to this session, acknowledges, and lets the workload go on.
    pub(super) fn reidentify(&mut self, id: SessionId, identity: &Identity) -> Result<(), Failure> {
        let refused = |why: &str| Err(failure(FailureKind::Request, why));
        if self.generation == Some(identity.generation) {
            return refused("the machine has this generation already");
        }
        match &mut self.machine {
            Machine::Up(machine) => machine.take_on(identity)?,
            Machine::Template(_) => return refused("the machine has not been started"),
            Machine::Failed(reason) => return refused(reason),
        }
        self.generation = Some(identity.generation);
        let id = self.begin_new_life(id)?;
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        session.tell(&Event::Identified {
            generation: identity.generation,
        });
        if !session.flush() {
            // Nobody has heard it, so nothing may run under it; another host may try again.
            self.generation = None;
            self.schedule(id);
            return Ok(());
        }
        match (self.thaw(), self.sessions.get(id)) {
            (Ok(()), _) => self.tell_what_runs(id),
            (Err(failure), Some(session)) => session.finish(&Event::Failed(failure)),
            (Err(failure), None) => return Err(failure),
        }
        Ok(())
    }

    /// Makes this session the machine's main session. Returns under which id it goes on.
    fn begin_new_life(&mut self, id: SessionId) -> Result<SessionId, Failure> {
        self.drop_put_off_requests();
        if matches!(
            self.stopping,
            Stopping::Draining(_) | Stopping::LastWords(_)
        ) {
            self.stopping = Stopping::No;
        }
        let heir = self.main.filter(|&main| self.has_workload(main));
        for other in self.sessions.ids() {
            if other != id && Some(other) != heir {
                self.leave_behind(other);
            }
        }
        let Some(heir) = heir else {
            // As after `Prepare`: the machine stays until it is stopped.
            self.main = None;
            self.witness = Some(id);
            self.stay = true;
            return Ok(id);
        };
        self.hand_over(id, heir).map(|()| heir)
    }

    /// Whether the workload is this session's, running or with an end that has not been told.
    fn has_workload(&mut self, id: SessionId) -> bool {
        let runs = matches!(self.workload, Workload::Running { .. });
        self.running(id)
            .is_some_and(|running| runs || !running.is_alive())
    }

    /// The host of `id` takes the place of the one that `heir` had.
    fn hand_over(&mut self, id: SessionId, heir: SessionId) -> Result<(), Failure> {
        let Some(session) = self.sessions.remove(id) else {
            return Ok(());
        };
        if let Some(socket) = session.socket() {
            let token = Token::Session(heir, Part::Connection).to_bits();
            self.epoll
                .change(socket, Interest::BothEdges, token)
                .failing(FailureKind::System, || "register the new session".into())?;
        }
        if let Some(heir) = self.sessions.get(heir) {
            heir.adopt(session);
        }
        self.schedule(heir);
        Ok(())
    }

    /// A session of the old life: one that has a process goes on without a host.
    fn leave_behind(&mut self, id: SessionId) {
        match self.sessions.get(id) {
            Some(session) if session.has_process() => {
                session.detach();
                self.schedule(id);
            }
            // It may be the new host's: it has sent nothing yet. If not, its end is on the way.
            Some(session) if !session.has_asked() => {}
            _ => self.close(id),
        }
    }

    /// What `Start` or `Prepare` told its host, once more for this one. A workload that is only being started is told
    /// when it runs.
    fn tell_what_runs(&mut self, id: SessionId) {
        let pid = if self.main == Some(id) {
            self.workload_pid
        } else {
            Some(NO_WORKLOAD)
        };
        if let (Some(pid), Some(session)) = (pid, self.sessions.get(id)) {
            session.tell(&Event::Started { pid });
            if let Some(running) = session.running() {
                running.announce();
            }
            self.schedule(id);
        }
    }
}
