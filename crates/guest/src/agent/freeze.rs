//! The time in which no process of the workload runs: before the machine is saved or forked, and in its copy until
//! that has an identity of its own.
//!
//! From the moment the freezer is switched on, what concerns a process is put off: what hosts send to its session,
//! its output, its timeout (which does not count the time it stood still), its end, and every request but the one
//! that ends the wait. A process must not even be started: its parent, the agent, would wait for one that is frozen
//! before its first instruction. The reaper is frozen with the others; statuses and orders wait for it in the kernel.

use super::stop::Stopping;
use super::token::{SessionId, Token};
use super::{Agent, Machine};
use crate::failure::{Context, failure};
use crate::sys::epoll::Interest;
use crate::sys::system;
use proto::session::{Event, Failure, FailureKind, Freeze, RequestBody};
use std::time::{Duration, Instant};

/// How long processes have to stop. One that waits for a disk stops when it has its answer.
const STOPPING_TAKES: Duration = Duration::from_secs(5);

/// A workload that is frozen, or about to be.
#[derive(Debug)]
pub struct Frost {
    /// The session that may thaw it; none once that is gone.
    session: Option<SessionId>,
    since: Instant,
    /// Until when all have to stop; `None` once they have.
    deadline: Option<Instant>,
    /// Sessions whose turn comes later.
    turns: Vec<SessionId>,
    /// Requests that are carried out later.
    requests: Vec<(SessionId, RequestBody)>,
}

impl Frost {
    fn new(session: SessionId, since: Instant) -> Self {
        Self {
            session: Some(session),
            since,
            deadline: since.checked_add(STOPPING_TAKES),
            turns: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// When it has taken too long.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Gives this session its turn later.
    pub fn put_off(&mut self, id: SessionId) {
        self.turns.push(id);
    }

    fn has_put_off_request(&self, id: SessionId) -> bool {
        self.requests.iter().any(|(other, _)| *other == id)
    }

    /// Sessions that want the machine to end.
    fn put_off_shutdowns(&self) -> Vec<SessionId> {
        let wanted =
            |(id, body): &(_, _)| matches!(body, RequestBody::Shutdown { .. }).then_some(*id);
        self.requests.iter().filter_map(wanted).collect()
    }
}

impl Agent {
    /// Begins to stop every process of the workload. The answer comes when they have.
    pub(super) fn freeze(&mut self, id: SessionId, freeze: &Freeze) -> Result<(), Failure> {
        let refused = |why: &str| Err(failure(FailureKind::Request, why));
        match (&self.machine, self.stopping, &self.frost) {
            (Machine::Template(_), ..) => return refused("the machine has not been started"),
            (Machine::Failed(reason), ..) => return refused(reason),
            (_, Stopping::No, None) => {}
            (_, _, Some(_)) => return refused("the workload is frozen already"),
            _ => return refused("the machine is about to end"),
        }
        if freeze.drop_caches {
            // While everything still runs: it is not to count in the pause.
            system::sync();
            self.caches
                .drop_clean()
                .failing(FailureKind::System, || "give clean page cache away".into())?;
        }
        self.switch_freezer_on()?;
        self.frost = Some(Frost::new(id, Instant::now()));
        // These are told for as long as they last, and nobody would listen.
        self.epoll.remove(&self.child_ends);
        if self.reaper.is_open() {
            self.epoll.remove(&self.reaper);
        }
        self.look_whether_frozen();
        Ok(())
    }

    fn switch_freezer_on(&self) -> Result<(), Failure> {
        let freezer = self.cgroup.freezer();
        freezer
            .freeze()
            .failing(FailureKind::System, || "freeze the workload".into())
    }

    /// Tells the host when the last process has stopped.
    pub(super) fn look_whether_frozen(&mut self) {
        let Some(frost) = self.frost.as_mut().filter(|frost| frost.deadline.is_some()) else {
            return;
        };
        if !self.cgroup.freezer().is_frozen().unwrap_or(false) {
            return;
        }
        frost.deadline = None;
        if let Some(id) = frost.session {
            if let Some(session) = self.sessions.get(id) {
                session.tell(&Event::Frozen);
            }
            self.schedule(id);
        }
    }

    /// Gives up when processes take too long to stop.
    pub(super) fn lose_patience_with_freezing(&mut self, now: Instant) -> Result<(), String> {
        let due = |frost: &Frost| frost.deadline.is_some_and(|at| at <= now);
        let Some(id) = self
            .frost
            .as_ref()
            .filter(|frost| due(frost))
            .map(|f| f.session)
        else {
            return Ok(());
        };
        self.thaw().map_err(|failure| failure.context)?;
        if let Some(session) = id.and_then(|id| self.sessions.get(id)) {
            session.finish(&Event::Failed(failure(
                FailureKind::System,
                format!(
                    "a process of the workload did not stop within {} s: it waits for something in the kernel",
                    STOPPING_TAKES.as_secs()
                ),
            )));
        }
        if let Some(id) = id {
            self.schedule(id);
        }
        Ok(())
    }

    /// A session's word that the workload may go on.
    pub(super) fn thaw_for(&mut self, id: SessionId) {
        let result = if self.is_frozen_for(id) {
            self.thaw()
        } else {
            Err(failure(
                FailureKind::Request,
                "this session has frozen nothing",
            ))
        };
        match (result, self.sessions.get(id)) {
            (Err(failure), Some(session)) => {
                session.finish(&Event::Failed(failure));
                self.schedule(id);
            }
            _ => self.close(id),
        }
    }

    /// The end of a session thaws nothing that has been told to be frozen: in a copy of the machine it ends before the
    /// copy has an identity. But a host that has not waited for the answer has no copy.
    pub(super) fn freezing_session_lost(&mut self, id: SessionId) -> Result<(), String> {
        if !self.is_frozen_for(id) {
            return Ok(());
        }
        let Some(frost) = &mut self.frost else {
            return Ok(());
        };
        if frost.deadline.is_some() {
            return self.thaw().map_err(|failure| failure.context);
        }
        frost.session = None;
        self.end_if_nobody_can_thaw();
        Ok(())
    }

    /// An end of the machine is not put off when nobody is left who could thaw it: the workload is killed as it stands,
    /// because what it would do to shut down it would do under its old identity. But a wish whose host is gone as well
    /// is one of the old life, found in a copy.
    fn end_if_nobody_can_thaw(&mut self) {
        let Some(frost) = self.frost.as_ref().filter(|it| it.session.is_none()) else {
            return;
        };
        for id in frost.put_off_shutdowns() {
            if self.sessions.get(id).is_some_and(|it| !it.is_hung_up()) {
                self.stopping = Stopping::Now;
            }
        }
    }

    fn is_frozen_for(&self, id: SessionId) -> bool {
        self.frost
            .as_ref()
            .is_some_and(|frost| frost.session == Some(id))
    }

    /// Whether a session has to wait for the thaw.
    pub(super) fn is_put_off(&mut self, id: SessionId) -> bool {
        let Some(frost) = &self.frost else {
            return false;
        };
        frost.has_put_off_request(id) || self.sessions.get(id).is_some_and(|s| s.has_process())
    }

    /// Keeps a request for later.
    pub(super) fn put_off_request(&mut self, id: SessionId, body: RequestBody) {
        let Some(frost) = &mut self.frost else {
            return;
        };
        frost.requests.push((id, body));
        self.end_if_nobody_can_thaw();
    }

    /// Lets the workload go on, and everything that was put off happen.
    pub(super) fn thaw(&mut self) -> Result<(), Failure> {
        let Some(frost) = self.frost.take() else {
            return Ok(());
        };
        let stood_still = frost.since.elapsed();
        self.schedule.postpone(stood_still);
        for id in self.sessions.ids() {
            if let Some(running) = self.running(id) {
                running.postpone(stood_still);
            }
        }
        self.listen_to_processes_again()
            .failing(FailureKind::System, || "watch the workload again".into())?;
        let freezer = self.cgroup.freezer();
        freezer
            .thaw()
            .failing(FailureKind::System, || "thaw the workload".into())?;
        for id in frost.turns {
            self.schedule.add_turn(id);
        }
        for (id, body) in frost.requests {
            self.carry_out(id, body);
            self.schedule(id);
        }
        self.tell_memory_kills();
        Ok(())
    }

    fn listen_to_processes_again(&self) -> std::io::Result<()> {
        let Self {
            epoll,
            child_ends,
            reaper,
            ..
        } = self;
        epoll.add(child_ends, Interest::Readable, Token::ChildEnds.to_bits())?;
        if reaper.is_open() {
            epoll.add(reaper, Interest::Readable, Token::Reaper.to_bits())?;
        }
        Ok(())
    }

    /// Forgets what was put off for hosts of an earlier life; their sessions end. Whose turn it is remains.
    pub(super) fn drop_put_off_requests(&mut self) {
        let Some(frost) = &mut self.frost else {
            return;
        };
        let freezer = frost.session.take();
        let requests = std::mem::take(&mut frost.requests);
        for id in requests.into_iter().map(|(id, _)| id).chain(freezer) {
            self.close(id);
        }
    }
}
