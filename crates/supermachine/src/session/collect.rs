//! A whole exec in the caller's thread.

use super::SessionError;
use super::shared::{Session, TimedOut};
use super::state::{Finished, State};
use crate::deadline::Deadline;
use proto::session::{Exit, OutputStream};

/// Why not all was collected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CollectError {
    /// The deadline passed first.
    TimedOut,
    /// The session failed.
    Session(SessionError),
}

/// What a process left.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Collects both outputs until the process has ended.
pub(crate) fn collect(
    session: &Session,
    limit: usize,
    deadline: Deadline,
) -> Result<(Exit, Collected), CollectError> {
    let mut collected = Collected::default();
    collect_into(&mut collected, session, limit, deadline).map(|exit| (exit, collected))
}

/// As [`collect`], keeping what came before an error.
pub(crate) fn collect_into(
    collected: &mut Collected,
    session: &Session,
    limit: usize,
    deadline: Deadline,
) -> Result<Exit, CollectError> {
    let finished = session.drive(deadline, |state, _| collected.look(state, limit));
    let stopped = match finished {
        Ok(Ok(exit)) => return Ok(exit),
        Ok(Err(error)) => CollectError::Session(error),
        Err(TimedOut) => CollectError::TimedOut,
    };
    // The agent kills what is left when the stream closes; the signal says why.
    session.signal(crate::signals::Signal::KILL.number());
    Err(stopped)
}

impl Collected {
    /// Takes what there is; how it ended, once it has, or that it is too much.
    pub(crate) fn look(&mut self, state: &mut State, limit: usize) -> Option<Finished> {
        state.inbox(OutputStream::Stdout).read_all(&mut self.stdout);
        state.inbox(OutputStream::Stderr).read_all(&mut self.stderr);
        if self.stdout.len().max(self.stderr.len()) > limit {
            return Some(Err(SessionError::OutputLimit(limit)));
        }
        state.finished().cloned()
    }
}
