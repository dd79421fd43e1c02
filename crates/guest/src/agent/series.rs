//! Files that are written before a process is started, and processes that follow each other on one session.

use super::Agent;
use super::token::SessionId;
use crate::failure::{Context, failure};
use crate::files;
use crate::reaper::exit_of;
use crate::sys::fd;
use crate::sys::process::Pid;
use proto::files::MAX_FAILURE;
use proto::session::{Event, ExitStatus, Failure, FailureKind, Process, Series};
use std::os::fd::{AsFd, OwnedFd};

/// A worker that writes files.
#[derive(Debug)]
pub struct Staging {
    /// Its id.
    pub worker: Pid,
    /// Where it says why it failed.
    report: OwnedFd,
}

impl Staging {
    /// What a worker that ended like this has to say.
    fn verdict(&self, status: i32) -> Result<(), Failure> {
        if exit_of(status) == ExitStatus::Code(0) {
            return Ok(());
        }
        let mut said = vec![0; MAX_FAILURE];
        let length = fd::read(&self.report, &mut said).unwrap_or(0);
        Err(proto::decode(&said[..length]).unwrap_or_else(|_| {
            let how = format!("writing files ended with {:?}", exit_of(status));
            failure(FailureKind::System, how)
        }))
    }
}

impl Agent {
    /// Begins a series.
    pub(super) fn begin_series(&mut self, id: SessionId, series: Series) -> Result<(), Failure> {
        self.can_run()?;
        if series.processes.is_empty() {
            return Err(failure(FailureKind::Request, "there is nothing to run"));
        }
        let owner = self.users.resolve(&series.processes[0].user)?.identity;
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        session.queue(series.processes);
        if series.files.is_empty() {
            return self.start_next(id);
        }
        let (report, theirs) =
            fd::pipe().failing(FailureKind::System, || "make a pipe for a worker".into())?;
        let null = self.null.as_fd();
        let worker = files::stage(
            &series.files,
            (owner.uid, owner.gid),
            null,
            theirs.as_fd(),
            &self.cgroup,
        )?;
        // Should this one not be told of its end, it would wait for what nobody says.
        drop(theirs);
        self.children.insert(worker, id);
        if let Some(session) = self.sessions.get(id) {
            session.wait_for(Staging { worker, report });
        }
        Ok(())
    }

    fn start_next(&mut self, id: SessionId) -> Result<(), Failure> {
        let next = self
            .sessions
            .get(id)
            .and_then(|session| session.next_process());
        next.map_or(Ok(()), |process| self.exec(id, process))
    }

    /// The files are written, or not. Whether this is what the end of a child of the session meant.
    pub(super) fn staging_ended(&mut self, id: SessionId, status: i32) -> bool {
        let staging = self
            .sessions
            .get(id)
            .and_then(|session| session.take_staging());
        let Some(staging) = staging else {
            return false;
        };
        let started = staging.verdict(status).and_then(|()| self.start_next(id));
        self.answer_for(id, started);
        true
    }

    /// Starts another process of a series.
    pub(super) fn start_step(&mut self, id: SessionId, process: Process) {
        let started = self.exec(id, process);
        self.answer_for(id, started);
    }

    fn answer_for(&mut self, id: SessionId, started: Result<(), Failure>) {
        if let (Err(failure), Some(session)) = (started, self.sessions.get(id)) {
            session.finish(&Event::Failed(failure));
        }
        self.schedule(id);
    }
}
