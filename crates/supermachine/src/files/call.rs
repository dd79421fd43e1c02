//! One request about files, on a session of its own.

use super::error::FilesError;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::reach::Reach;
use crate::session::{OutputReader, Session, SessionError, StdinWriter};
use crate::vm::Vm;
use proto::files::{FileRequest, MAX_FAILURE};
use proto::session::{ExitStatus, OutputStream, Request, RequestBody};
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

/// Answers are small; a guest that says more breaks the rules.
const MOST_TOLD: u64 = 64 << 20;
/// Written to the session at a time.
const BUFFER: usize = 128 << 10;

/// A worker in the VM.
#[derive(Debug)]
pub(super) struct Call {
    session: Arc<Session>,
    reach: Reach,
    stdout: Option<OutputReader>,
}

impl Call {
    pub(super) fn start(vm: &Vm, request: FileRequest) -> Result<Self, Error> {
        let session = Session::new(vm.reach().connect(Deadline::NEVER)?);
        let session = session.with_wake().map_err(SessionError::Socket)?;
        session.request(&Request::new(RequestBody::Files(request)))?;
        let session = Arc::new(session);
        Ok(Self {
            stdout: Some(OutputReader::new(
                Arc::clone(&session),
                OutputStream::Stdout,
            )),
            session,
            reach: vm.reach().clone(),
        })
    }

    /// Its output.
    pub(super) const fn stdout(&mut self) -> Option<&mut OutputReader> {
        self.stdout.as_mut()
    }

    /// Writes its input, and waits until it is done. Input that breaks off leaves what it was for undone.
    pub(super) fn feed(
        &mut self,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let stdin = StdinWriter::new(Arc::clone(&self.session));
        let mut buffered = BufWriter::with_capacity(BUFFER, stdin);
        let filled = fill(&mut buffered).and_then(|()| buffered.flush());
        let (stdin, _) = buffered.into_parts();
        match filled {
            Ok(()) => {
                drop(stdin);
                self.finish()
            }
            // The worker has closed its end: it says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                drop(stdin);
                self.finish()?;
                Err(FilesError::Stream(error).into())
            }
            Err(error) => {
                // Not closed in good order: the worker must not take this for the end.
                self.session.hang_up();
                Err(FilesError::Input(error).into())
            }
        }
    }

    /// What it has to say, when it is done.
    pub(super) fn collect(mut self) -> Result<Vec<u8>, Error> {
        let mut told = Vec::new();
        if let Some(stdout) = self.stdout.take() {
            let read = stdout.take(MOST_TOLD + 1).read_to_end(&mut told);
            if told.len() as u64 > MOST_TOLD {
                return Err(FilesError::TooBig(MOST_TOLD).into());
            }
            // A connection that broke is what the end of the session says too, and better.
            drop(read);
        }
        self.finish()?;
        Ok(told)
    }

    /// Waits for its end and gives its failure.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.stdout = None;
        let mut said = Vec::new();
        let stderr = OutputReader::new(Arc::clone(&self.session), OutputStream::Stderr);
        // As above: what matters is said by the end of the session.
        let _ = stderr.take(MAX_FAILURE as u64).read_to_end(&mut said);
        let exit = match self.session.wait(Deadline::NEVER) {
            Ok(Ok(exit)) => exit,
            Ok(Err(error)) => return Err(self.reach.explain(error)),
            Err(_) => return Err(SessionError::Cut.into()),
        };
        if exit.status == ExitStatus::Code(0) {
            return Ok(());
        }
        Err(match proto::decode(&said) {
            Ok(failure) => FilesError::Guest(failure).into(),
            Err(_) if exit.out_of_memory => FilesError::OutOfMemory.into(),
            Err(_) => FilesError::Died(exit.status.shell_code()).into(),
        })
    }
}
