//! Standard streams of a process inside, as readers and a writer that can go to other threads.

use super::shared::Session;
use crate::deadline::Deadline;
use proto::session::OutputStream;
use std::io;
use std::sync::Arc;

/// Standard input of a process inside. Writing blocks while the process does not read;
/// [`io::ErrorKind::BrokenPipe`] when it has closed its end. Dropping it closes the stream.
#[derive(Debug)]
pub struct StdinWriter {
    session: Arc<Session>,
}

impl StdinWriter {
    pub(crate) const fn new(session: Arc<Session>) -> Self {
        Self { session }
    }

    /// As [`io::Write::write`], until a deadline ([`io::ErrorKind::TimedOut`]).
    pub fn write_deadline(
        &mut self,
        bytes: &[u8],
        deadline: impl Into<Deadline>,
    ) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let written = self
            .session
            .drive(deadline.into(), |state, socket| state.offer(socket, bytes));
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl io::Write for StdinWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_deadline(bytes, Deadline::NEVER)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StdinWriter {
    fn drop(&mut self) {
        self.session.close_stdin();
    }
}

/// Standard output or error of a process inside. Independent of its sibling: a reader that stops reading
/// holds back its own stream only, and one that is dropped holds back nothing. A connection that breaks is
/// an error here; a program that could not be started is an end of file here and an error of the wait.
#[derive(Debug)]
pub struct OutputReader {
    session: Arc<Session>,
    stream: OutputStream,
}

impl OutputReader {
    pub(crate) const fn new(session: Arc<Session>, stream: OutputStream) -> Self {
        Self { session, stream }
    }

    /// As [`io::Read::read`], until a deadline ([`io::ErrorKind::TimedOut`]).
    pub fn read_deadline(
        &mut self,
        buffer: &mut [u8],
        deadline: impl Into<Deadline>,
    ) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self
            .session
            .drive(deadline.into(), |state, _| state.take(self.stream, buffer));
        read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl io::Read for OutputReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_deadline(buffer, Deadline::NEVER)
    }
}

impl Drop for OutputReader {
    fn drop(&mut self) {
        self.session.discard(self.stream);
    }
}
