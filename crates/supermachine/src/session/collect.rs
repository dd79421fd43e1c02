//! A whole exec in the caller's thread.

use super::SessionError;
use super::shared::{Session, TimedOut};
use super::state::State;
use crate::deadline::Deadline;
use proto::session::{Exit, OutputStream};
use std::os::fd::BorrowedFd;

/// Why nothing was collected.
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

/// Feeds `stdin` and collects both outputs until the process has ended.
pub(crate) fn collect(
    session: &Session,
    stdin: Option<&[u8]>,
    limit: usize,
    deadline: Deadline,
) -> Result<(Exit, Collected), CollectError> {
    let mut collected = Collected::default();
    let mut input = stdin;
    let finished = session.drive(deadline, |state, socket| {
        collected.take(state);
        if collected.stdout.len().max(collected.stderr.len()) > limit {
            return Some(Err(SessionError::OutputLimit(limit)));
        }
        feed(state, socket, &mut input);
        state.finished().cloned()
    });
    let stopped = match finished {
        Ok(Ok(exit)) => return Ok((exit, collected)),
        Ok(Err(error)) => CollectError::Session(error),
        Err(TimedOut) => CollectError::TimedOut,
    };
    // The agent kills what is left when the stream closes; the signal says why.
    session.signal(crate::signals::Signal::KILL.number());
    Err(stopped)
}

impl Collected {
    fn take(&mut self, state: &mut State) {
        state.inbox(OutputStream::Stdout).read_all(&mut self.stdout);
        state.inbox(OutputStream::Stderr).read_all(&mut self.stderr);
    }
}

/// Sends what credit and the socket allow; the end of the input once all of it is sent.
fn feed(state: &mut State, socket: BorrowedFd<'_>, input: &mut Option<&[u8]>) {
    while let Some(rest) = input {
        if rest.is_empty() || !state.stdin_open() {
            state.close_stdin();
            *input = None;
            return;
        }
        match state.write_stdin(socket, rest) {
            Ok(0) => return,
            Ok(count) => *rest = &rest[count..],
            // The reader of the socket finds out why.
            Err(_) => *input = None,
        }
    }
}
