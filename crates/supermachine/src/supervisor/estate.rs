//! What one life of a VM leaves to the next: its record, its lock and the clients that look for it.

use super::clients::{Clients, Waiting};
use super::network::updated;
use super::shared::Outcome;
use crate::deadline::Deadline;
use crate::error::RecordError;
use crate::poll;
use crate::record::{Entry, State};
use crate::time::unix_nanos;
use proto::supervisor::{Reply, RequestBody};
use rustix::event::PollFlags;
use std::os::fd::BorrowedFd;
use std::time::SystemTime;

/// A VM between two lives. While it exists nobody else can start or remove the VM, and clients are answered.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(super) entry: Entry,
    pub(super) clients: Clients,
    pub(super) outcome: Outcome,
}

/// What comes after the pause before a restart.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another life.
    Life(Box<Estate>),
    /// Somebody asked for the end; the record says how the last life ended.
    End,
}

impl Estate {
    /// The record, as the last life left it.
    pub(crate) const fn record(&self) -> &crate::record::Record {
        &self.entry.record
    }

    /// Answers clients until the pause is over, or somebody asks for the end: a client, or who writes to `wake`.
    pub(crate) fn rest(mut self, pause: Deadline, wake: BorrowedFd<'_>) -> Next {
        loop {
            if self.serve()
                || poll::ready(
                    wake,
                    PollFlags::IN,
                    Deadline::after(std::time::Duration::ZERO),
                )
            {
                self.end();
                return Next::End;
            }
            if pause.has_passed() {
                return Next::Life(Box::new(self));
            }
            let mut fds = vec![(wake, PollFlags::IN)];
            fds.extend(self.clients.descriptors().map(|fd| (fd, PollFlags::IN)));
            poll::any(&fds, pause);
        }
    }

    /// Whether somebody asked for the end.
    fn serve(&mut self) -> bool {
        let mut ends = false;
        for (connection, body) in self.clients.take_requests() {
            match body {
                RequestBody::Stop { .. } | RequestBody::Kill => {
                    self.clients.keep(connection, Waiting::Gone);
                    ends = true;
                }
                RequestBody::Wait => connection.reply(&super::clients::exit_reply(&self.outcome)),
                RequestBody::Events => self.clients.subscribe(connection),
                RequestBody::UpdateNetwork(update) => {
                    connection.reply(&updated(&mut self.entry, &update));
                }
                RequestBody::Rename { name } => connection.reply(&renamed(&mut self.entry, &name)),
                _ => connection.reply(&Reply::Failed(
                    "the VM has ended and waits to be started again".into(),
                )),
            }
        }
        ends
    }

    /// Writes the end of the last life as that of the VM.
    fn end(mut self) {
        self.entry.record.state = last_state(&self.outcome);
        let written = self.entry.save_last();
        drop(self.entry);
        if let Err(error) = written {
            tracing::warn!(%error, "the record of a VM does not show its end");
        }
        self.clients.dismiss(&self.outcome);
    }
}

/// What a record says of a VM that ended so just now.
pub(super) fn last_state(outcome: &Outcome) -> State {
    let at_ns = unix_nanos(SystemTime::now());
    match outcome {
        Outcome::Exited(exit) => State::Exited { exit: *exit, at_ns },
        Outcome::Stopped => State::Stopped { at_ns },
        Outcome::Failed(error) => State::Failed {
            message: error.to_string(),
            at_ns,
        },
    }
}

/// Renames a VM, and says how that went.
pub(super) fn renamed(entry: &mut Entry, name: &str) -> Reply {
    match entry.rename(name) {
        Ok(()) => Reply::Done,
        Err(error @ RecordError::NameTaken(_)) => Reply::Failed(error.to_string()),
        Err(error) => Reply::Failed(crate::error::describe(&error)),
    }
}
