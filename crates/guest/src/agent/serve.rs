//! The loop: wait, take notice, give every session that has something to do its turn.

use super::reaper_link::Heard;
use super::running::Ended;
use super::session::{Session, Turn};
use super::stop::Stopping;
use super::token::{Part, SessionId, Token};
use super::{Agent, Workload};
use crate::failure::failure;
use crate::reaper::{Report, exit_of};
use crate::sys::epoll::{Happening, Interest};
use crate::sys::socket::{self, Peer};
use crate::sys::{process, signal};
use proto::session::{Event, ExitStatus, FailureKind};
use std::time::{Duration, Instant};

/// How long to leave the listener alone when a connection could not be taken.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

impl Agent {
    /// Serves until the machine is to end; an error is the reason why it cannot go on.
    pub(super) fn serve(&mut self) -> Result<(), String> {
        let mut happenings: Vec<Happening> = Vec::new();
        while self.stopping != Stopping::Now {
            let timeout = self.patience();
            let happened = self
                .epoll
                .wait(timeout)
                .map_err(|error| format!("wait for events: {error}"))?;
            happenings.clear();
            happenings.extend(happened);
            for happening in &happenings {
                self.take_notice(*happening)?;
            }
            self.keep_deadlines()?;
            for _ in 0..self.schedule.turns() {
                if let Some(id) = self.schedule.next_turn() {
                    self.give_turn(id)?;
                }
            }
        }
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        if self.schedule.turns() > 0 {
            return Some(Duration::ZERO);
        }
        self.next_deadline()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn keep_deadlines(&mut self) -> Result<(), String> {
        if self.next_deadline().is_none() {
            return Ok(());
        }
        let now = Instant::now();
        if self.frost.is_some() {
            self.lose_patience_with_freezing(now)?;
        } else {
            while let Some(id) = self.schedule.next_expired(now) {
                self.time_out(id);
            }
            self.look_whether_ready(now);
        }
        self.proceed_with_stop(now);
        self.resume_accepting(now)
    }

    fn time_out(&mut self, id: SessionId) {
        let Some(running) = self.running(id).filter(|running| running.is_alive()) else {
            return;
        };
        running.time_out();
        if !running.signal(libc::SIGKILL) || self.main == Some(id) {
            self.kill_workload_group();
        }
    }

    fn take_notice(&mut self, happening: Happening) -> Result<(), String> {
        match Token::from_bits(happening.token) {
            Token::Listener => self.accept(),
            Token::ChildEnds => self.reap(),
            Token::Reaper => self.hear_reaper(),
            Token::MemoryEvents => {
                self.note_memory_kills();
                Ok(())
            }
            Token::KernelLog => {
                self.name_victims();
                Ok(())
            }
            Token::Freezer => {
                self.look_whether_frozen();
                Ok(())
            }
            Token::Session(id, part) => {
                if let Some(session) = self.sessions.get(id) {
                    session.notice(part, happening.broken);
                    self.schedule(id);
                }
                Ok(())
            }
        }
    }

    /// Takes one connection. The listener stays readable while others wait, so epoll tells of them again. It must not
    /// be asked without need: accept(2) on a vsock listener that has nobody sleeps until the kernel's next tick,
    /// O_NONBLOCK or not (`vsock_accept` of 6.1 calls `schedule_timeout(0)`), 10 ms that every exec would wait.
    fn accept(&mut self) -> Result<(), String> {
        match socket::accept(&self.listener) {
            Ok(Some(Peer::Host(socket))) => self.open_session(Session::new(socket)),
            Ok(Some(Peer::Stranger) | None) => Ok(()),
            // Out of descriptors or memory. Those who wait stay where they are; asking again at once
            // would only be a way to spin.
            Err(_) => {
                self.epoll.remove(&self.listener);
                self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                Ok(())
            }
        }
    }

    fn resume_accepting(&mut self, now: Instant) -> Result<(), String> {
        if self.accept_again.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.accept_again = None;
        self.epoll
            .add(
                &self.listener,
                Interest::Readable,
                Token::Listener.to_bits(),
            )
            .map_err(|error| format!("listen again: {error}"))
    }

    fn open_session(&mut self, session: Session) -> Result<(), String> {
        self.expect_many_files();
        let id = self.sessions.insert(session);
        let session = self.sessions.get(id).ok_or("a new session is gone")?;
        let socket = session.socket().ok_or("a new session has no socket")?;
        let token = Token::Session(id, Part::Connection).to_bits();
        self.epoll
            .add(socket, Interest::BothEdges, token)
            .map_err(|error| format!("register a session: {error}"))?;
        self.schedule(id);
        Ok(())
    }

    pub(super) fn schedule(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(id)
            && !std::mem::replace(&mut session.scheduled, true)
        {
            self.schedule.add_turn(id);
        }
    }

    fn give_turn(&mut self, id: SessionId) -> Result<(), String> {
        if self.is_put_off(id)
            && let Some(frost) = &mut self.frost
        {
            frost.put_off(id);
            return Ok(());
        }
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        session.scheduled = false;
        match session.turn(&mut self.buffer) {
            Turn::Idle => {}
            Turn::Again => self.schedule(id),
            Turn::Request(request) => {
                self.carry_out(id, *request);
                self.schedule(id);
            }
            Turn::SignalWorkload(signal) => {
                self.signal_workload(signal);
                self.schedule(id);
            }
            Turn::Thaw => self.thaw_for(id),
            Turn::Release => self.release(id),
            Turn::NextStep(process) => self.start_step(id, *process),
            Turn::Done => self.session_done(id),
            Turn::Lost => self.session_lost(id)?,
        }
        Ok(())
    }

    /// The host leaves, and the process of an exec stays: what it writes from now on goes nowhere. The workload is
    /// not to be left alone.
    fn release(&mut self, id: SessionId) {
        if self.main == Some(id) {
            if let Some(session) = self.sessions.get(id) {
                let why = "the workload's session cannot be left";
                session.finish(&Event::Failed(failure(FailureKind::Request, why)));
            }
        } else if let Some(session) = self.sessions.get(id) {
            session.leave();
        }
        self.schedule(id);
    }

    /// Everything has been said and sent.
    fn session_done(&mut self, id: SessionId) {
        let ends_machine = self.main == Some(id) && (!self.stay || self.stopping != Stopping::No);
        if !ends_machine {
            self.close(id);
            return;
        }
        // The host hangs up when it has read the last frame: only then may the machine go.
        if !matches!(self.stopping, Stopping::LastWords(_)) {
            if let Some(session) = self.sessions.get(id) {
                session.close_sending();
            }
            self.end_when_told();
        }
    }

    /// The host has hung up or broken the rules.
    fn session_lost(&mut self, id: SessionId) -> Result<(), String> {
        self.freezing_session_lost(id)?;
        let is_main = self.main == Some(id);
        let had_ended = self
            .sessions
            .get(id)
            .is_some_and(|session| session.is_ending());
        let staging = self.sessions.get(id).and_then(|session| session.staging());
        if let Some(worker) = staging.map(|staging| staging.worker) {
            process::kill(worker, libc::SIGTERM);
        }
        if let Some(running) = self.running(id).filter(|running| running.is_alive()) {
            // For the workload the machine's end does it.
            running.abandon();
        }
        self.close(id);
        // Without its supervisor a workload is not to go on.
        let stays = had_ended && self.stay && self.stopping == Stopping::No;
        if is_main && !stays {
            self.stopping = Stopping::Now;
        }
        Ok(())
    }

    pub(super) fn close(&mut self, id: SessionId) {
        if self.main == Some(id) {
            self.main = None;
        }
        if let Some(at) = self.running(id).and_then(|running| running.deadline()) {
            self.schedule.remove_deadline(at, id);
        }
        self.sessions.remove(id);
    }

    /// The one place where children of this process are waited for.
    fn reap(&mut self) -> Result<(), String> {
        signal::clear(&self.child_ends);
        while let Some(ended) = process::reap(process::Patience::None) {
            if ended.pid == self.reaper.pid {
                self.reaper.gone = true;
                self.reaper_ended(ended)?;
            } else if let Some(id) = self.children.remove(&ended.pid)
                && !self.staging_ended(id, ended.status)
            {
                self.process_ended(id, ended.status, ended.max_rss_kib);
            }
        }
        Ok(())
    }

    /// That is the workload's end if the workload has taken the reaper's place, and a disaster otherwise.
    fn reaper_ended(&mut self, ended: process::Ended) -> Result<(), String> {
        self.hear_reaper()?;
        let asked_to = asked_to_end(exit_of(ended.status));
        match self.workload {
            Workload::Running { first: true } => {}
            _ if !asked_to => {
                self.workload = Workload::Ended { first: true };
                return Err(format!(
                    "the reaper has ended ({:?})",
                    exit_of(ended.status)
                ));
            }
            // Nothing can run in the namespace now, whoever wanted the machine to stay.
            Workload::Running { first: false } => self.stay = false,
            Workload::None | Workload::Ended { .. } => self.stopping = Stopping::Now,
        }
        self.workload_ended(ended.status, ended.max_rss_kib);
        Ok(())
    }

    fn hear_reaper(&mut self) -> Result<(), String> {
        for heard in self.reaper.hear().map_err(|failure| failure.context)? {
            match heard {
                Heard::Report(Report::Ready) => {}
                Heard::Report(Report::Started(pid)) => self.workload_started(pid),
                Heard::Report(Report::Failed(failure)) => {
                    self.workload = Workload::Ended { first: false };
                    self.stay |= self.keep_on_failure;
                    self.finish_main(&Event::Failed(failure));
                }
                Heard::Report(Report::Ended {
                    status,
                    max_rss_kib,
                }) => self.workload_ended(status, max_rss_kib),
                Heard::Closed => self.reaper_closed(),
            }
        }
        Ok(())
    }

    /// Executing closed the reaper's end: it is the workload now. If it has died instead, its end as a child
    /// tells.
    fn reaper_closed(&mut self) {
        if self.reaper.is_open() {
            self.reaper.close(&self.epoll);
            if self.workload == (Workload::Running { first: true }) {
                self.workload_started(1);
            }
        }
    }

    fn workload_started(&mut self, pid: i32) {
        self.workload_pid = Some(pid);
        self.tell_main(&Event::Started { pid });
    }

    fn workload_ended(&mut self, status: i32, max_rss_kib: u64) {
        let Workload::Running { first } = self.workload else {
            return;
        };
        self.workload = Workload::Ended { first };
        match self.main {
            Some(id) => {
                self.process_ended(id, status, max_rss_kib);
                self.drain_before_stop();
            }
            None => self.stopping = Stopping::Now,
        }
    }

    fn process_ended(&mut self, id: SessionId, status: i32, max_rss_kib: u64) {
        let Self {
            sessions,
            cgroup,
            memory_kills_attributed: attributed,
            ..
        } = self;
        let Some(running) = sessions.get(id).and_then(Session::running) else {
            return;
        };
        running.end(
            Ended {
                status: exit_of(status),
                max_rss_kib,
            },
            || {
                let kills = cgroup.out_of_memory_kills().unwrap_or(0);
                let ours = kills > *attributed;
                *attributed += u64::from(ours);
                ours
            },
        );
        if exit_of(status) == ExitStatus::Signal(libc::SIGKILL) {
            // The news that it was the kernel's doing comes before the news that it is over.
            self.tell_memory_kills();
        }
        self.schedule(id);
    }

    /// The kernel counts a kill before it says in its log whom it killed.
    fn note_memory_kills(&mut self) {
        let kills = self.cgroup.out_of_memory_kills().unwrap_or(0);
        if kills <= self.memory_kills_told {
            return;
        }
        self.name_victims();
        if kills > self.memory_kills_told {
            let token = Token::KernelLog.to_bits();
            // Registered already, it tells just the same.
            let _ = self
                .epoll
                .add(&self.kernel_log, Interest::ReadableEdge, token);
        }
    }

    fn name_victims(&mut self) {
        for victim in self.kernel_log.victims() {
            self.memory_kills_told += 1;
            self.tell_witness(&Event::OutOfMemoryKill(victim));
        }
    }

    /// Tells the host about every kill for want of memory it has not heard of, with a name or without.
    pub(super) fn tell_memory_kills(&mut self) {
        self.name_victims();
        self.epoll.remove(&self.kernel_log);
        let kills = self.cgroup.out_of_memory_kills().unwrap_or(0);
        while self.memory_kills_told < kills {
            self.memory_kills_told += 1;
            self.tell_witness(&Event::OutOfMemory);
        }
    }

    fn tell_witness(&mut self, event: &Event) {
        let Some(id) = self.main.or(self.witness) else {
            return;
        };
        if let Some(session) = self.sessions.get(id) {
            session.tell(event);
            self.schedule(id);
        }
    }

    fn tell_main(&mut self, event: &Event) {
        if let Some(id) = self.main {
            if let Some(session) = self.sessions.get(id) {
                session.tell(event);
                if let (Event::Started { .. }, Some(running)) = (event, session.running()) {
                    running.announce();
                }
            }
            self.schedule(id);
        }
    }

    pub(super) fn finish_main(&mut self, event: &Event) {
        if let Some(id) = self.main {
            if let Some(session) = self.sessions.get(id) {
                session.finish(event);
            }
            self.schedule(id);
        }
    }
}

/// Whether a program called reboot(2): in a PID namespace that kills the first process, with one signal for
/// a restart and another for a halt.
fn asked_to_end(status: ExitStatus) -> bool {
    matches!(status, ExitStatus::Signal(libc::SIGHUP | libc::SIGINT))
}
