//! A process that runs in a VM.

use super::cancel::Canceler;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::reach::Reach;
use crate::session::{OutputReader, Session, SessionError, StdinWriter, TimedOut};
use crate::signals::Signal;
use proto::session::{Exit, OutputStream, WindowSize};
use std::sync::Arc;

/// A process that was started in a VM. It is killed when this and all streams taken from it are dropped
/// before its end.
#[derive(Debug)]
pub struct Child {
    /// Standard input, with [`ExecStdin::Stream`](super::ExecStdin::Stream). Dropping it closes the stream.
    pub stdin: Option<StdinWriter>,
    /// Standard output.
    pub stdout: Option<OutputReader>,
    /// Standard error.
    pub stderr: Option<OutputReader>,
    pub(super) session: Arc<Session>,
    pub(super) reach: Reach,
    has_terminal: bool,
}

/// Whether standard input comes from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streaming(pub(super) bool);

impl Child {
    pub(super) fn new(
        session: Arc<Session>,
        reach: Reach,
        Streaming(streaming): Streaming,
        has_terminal: bool,
    ) -> Self {
        let output = |stream| Some(OutputReader::new(Arc::clone(&session), stream));
        Self {
            stdin: streaming.then(|| StdinWriter::new(Arc::clone(&session))),
            stdout: output(OutputStream::Stdout),
            stderr: output(OutputStream::Stderr),
            session,
            reach,
            has_terminal,
        }
    }

    /// The process id inside; waits until the program runs.
    pub fn pid(&self) -> Result<i32, Error> {
        self.pid_deadline(Deadline::NEVER)
    }

    /// As [`Self::pid`], until a deadline.
    pub fn pid_deadline(&self, deadline: impl Into<Deadline>) -> Result<i32, Error> {
        let deadline = deadline.into();
        let limit = deadline.remaining().unwrap_or_default();
        match self.session.wait_started(deadline) {
            Ok(started) => started.map_err(|error| self.reach.explain(error)),
            Err(TimedOut) => Err(Error::Deadline {
                waiting_for: "the start of the process",
                limit,
            }),
        }
    }

    /// Waits for the end of the process. Output nobody reads holds the process back, as with a pipe: take
    /// the streams and read them, or drop them. Standard input is not closed by this: drop it first.
    pub fn wait(&self) -> Result<Exit, Error> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// As [`Self::wait`], until a deadline; the process goes on when it passes.
    pub fn wait_deadline(&self, deadline: impl Into<Deadline>) -> Result<Exit, Error> {
        let deadline = deadline.into();
        let limit = deadline.remaining().unwrap_or_default();
        match self.session.wait(deadline) {
            Ok(finished) => finished.map_err(|error| self.reach.explain(error)),
            Err(TimedOut) => Err(Error::Deadline {
                waiting_for: "the process",
                limit,
            }),
        }
    }

    /// The exit if the process has ended. Does not block.
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.session
            .try_wait()
            .transpose()
            .map_err(|error| self.reach.explain(error))
    }

    /// What ends it from anywhere.
    pub fn canceler(&self) -> Canceler {
        Canceler::of(&self.session)
    }

    /// Sends a signal to the process group.
    pub fn signal(&self, signal: Signal) {
        self.session.signal(signal.number());
    }

    /// Kills the process group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Changes the size of its terminal; only with [`ExecBuilder::tty`](super::ExecBuilder::tty).
    pub fn resize(&self, size: WindowSize) {
        if self.has_terminal {
            self.session.resize(size);
        }
    }

    /// Lets the process go on without us, and returns when it does: its input is at its end, and what it writes from
    /// now on is lost. It ends with the VM at the latest.
    pub fn release(&self) -> Result<(), Error> {
        self.pid()?;
        self.session.release();
        match self.session.wait(Deadline::NEVER) {
            // It has let go of us.
            Err(TimedOut) | Ok(Ok(_) | Err(SessionError::Cut)) => Ok(()),
            Ok(Err(error)) => Err(self.reach.explain(error)),
        }
    }
}
