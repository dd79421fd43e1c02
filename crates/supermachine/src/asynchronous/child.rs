//! A process that runs in a VM.

use super::link::Link;
use super::streams::{AsyncOutput, AsyncStdin};
use crate::error::Error;
use crate::exec::Canceler;
use crate::reach::Reach;
use crate::session::SessionError;
use crate::signals::Signal;
use proto::session::{Exit, OutputStream, WindowSize};
use std::sync::Arc;

/// A process that was started in a VM, to be awaited. It is killed when this and all streams taken from it are dropped
/// before its end.
#[derive(Debug)]
pub struct AsyncChild {
    /// Standard input, with [`crate::ExecStdin::Stream`]. Dropping it closes the stream.
    pub stdin: Option<AsyncStdin>,
    /// Standard output.
    pub stdout: Option<AsyncOutput>,
    /// Standard error.
    pub stderr: Option<AsyncOutput>,
    pub(super) link: Arc<Link>,
    pub(super) reach: Reach,
    pub(super) has_terminal: bool,
}

impl AsyncChild {
    pub(super) fn new(link: Link, reach: Reach) -> Self {
        let link = Arc::new(link);
        let output = |stream| Some(AsyncOutput::new(Arc::clone(&link), stream));
        Self {
            stdin: None,
            stdout: output(OutputStream::Stdout),
            stderr: output(OutputStream::Stderr),
            link,
            reach,
            has_terminal: false,
        }
    }

    /// The process id inside, once the program runs.
    pub async fn pid(&self) -> Result<i32, Error> {
        let started = self
            .link
            .until(|state, _| match (state.pid(), state.finished()) {
                (Some(pid), _) => Some(Ok(pid)),
                (None, Some(Err(error))) => Some(Err(error.clone())),
                (None, Some(Ok(_))) => Some(Err(SessionError::Protocol("an exit without a start"))),
                (None, None) => None,
            });
        self.explain(started.await).await
    }

    /// The end of the process. Output nobody reads holds the process back, as with a pipe: take the streams and read
    /// them, or drop them. Dropping the future leaves the process alone.
    pub async fn wait(&self) -> Result<Exit, Error> {
        let finished = self.link.until(|state, _| state.finished().cloned());
        self.explain(finished.await).await
    }

    async fn explain<T>(&self, result: Result<T, SessionError>) -> Result<T, Error> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.reach.explain_async(error).await),
        }
    }

    /// What ends it from anywhere.
    pub fn canceler(&self) -> Canceler {
        Canceler::of(self.link.session())
    }

    /// Sends a signal to the process group.
    pub fn signal(&self, signal: Signal) {
        self.link.session().signal(signal.number());
    }

    /// Kills the process group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Changes the size of its terminal; only with [`crate::ExecBuilder::tty`].
    pub fn resize(&self, size: WindowSize) {
        if self.has_terminal {
            self.link.session().resize(size);
        }
    }
}
