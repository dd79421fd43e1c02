//! The streams of a VM's workload, as long as somebody wants them.

use crate::config::{MainStdin, VmConfig};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::session::{OutputReader, Session, SessionError, StdinWriter, TimedOut};
use crate::signals::Signal;
use proto::session::{Exit, OutputStream, WindowSize};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The streams of a VM's workload. Any number of them may be open; all get all output, and what is written to any of
/// them is the workload's input. The workload waits for the slowest reader. Dropping this with its streams leaves the
/// VM alone.
#[derive(Debug)]
pub struct Attachment {
    /// Standard input, if the workload has one ([`MainStdin::Stream`]). Dropping it does not close the workload's.
    pub stdin: Option<StdinWriter>,
    /// Standard output, and everything of a terminal.
    pub stdout: Option<OutputReader>,
    /// Standard error.
    pub stderr: Option<OutputReader>,
    session: Arc<Session>,
}

impl Attachment {
    /// On a stream of the supervisor's.
    pub(crate) fn new(stream: OwnedFd, config: &VmConfig) -> Result<Self, Error> {
        let session = Session::new(stream).with_wake();
        let session = Arc::new(session.map_err(SessionError::Socket)?);
        let output = |stream| Some(OutputReader::new(Arc::clone(&session), stream));
        Ok(Self {
            stdin: (config.stdin == MainStdin::Stream)
                .then(|| StdinWriter::new(Arc::clone(&session))),
            stdout: output(OutputStream::Stdout),
            stderr: output(OutputStream::Stderr),
            session,
        })
    }

    /// Waits for the end of the VM. Output that is not read is not lost: take the streams and read them, or drop them.
    pub fn wait(&self) -> Result<Exit, Error> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// As [`Self::wait`], until a deadline.
    pub fn wait_deadline(&self, deadline: impl Into<Deadline>) -> Result<Exit, Error> {
        let deadline = deadline.into();
        let limit = deadline.remaining().unwrap_or_default();
        match self.session.wait(deadline) {
            Ok(Ok(exit)) => Ok(exit),
            // The stream of a VM that was stopped ends without a word, and so does that of a supervisor that died.
            Ok(Err(SessionError::Cut | SessionError::Unreachable)) => Err(Error::Stopped),
            Ok(Err(error)) => Err(error.into()),
            Err(TimedOut) => Err(Error::Deadline {
                waiting_for: "the workload",
                limit,
            }),
        }
    }

    /// Sends a signal to the workload.
    pub fn signal(&self, signal: Signal) {
        self.session.signal(signal.number());
    }

    /// Changes the size of the workload's terminal, if it has one.
    pub fn resize(&self, size: WindowSize) {
        self.session.resize(size);
    }
}
