//! Processes inside a running VM.

use crate::config::{byte_strings, variable};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::reach::Reach;
use crate::session::{
    CollectError, Collected, OutputReader, Session, SessionError, StdinWriter, TimedOut, collect,
};
use crate::signals::Signal;
use crate::vm::Vm;
use crate::workload::Wishes;
use proto::session::{Exit, ExitStatus, OutputStream, Request, RequestBody, WindowSize};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

/// A guest that writes without end must not fill the host's memory.
const DEFAULT_OUTPUT_LIMIT: usize = 256 << 20;

/// What a finished process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended and what it used.
    pub exit: Exit,
    /// Everything it wrote to standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Code or signal.
    pub const fn status(&self) -> ExitStatus {
        self.exit.status
    }

    /// Whether the process ended with code 0.
    pub fn success(&self) -> bool {
        self.exit.status == ExitStatus::Code(0)
    }

    /// Wall time inside the guest from start to end.
    pub const fn duration(&self) -> Duration {
        Duration::from_micros(self.exit.duration_us)
    }
}

/// Standard input of an exec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ExecStdin {
    /// End of file at once.
    #[default]
    Null,
    /// These bytes, then end of file.
    Bytes(Vec<u8>),
    /// A stream: [`Child::stdin`].
    Stream,
}

/// A process to be started in a VM. User, directory and environment are the VM's unless set here.
#[derive(Debug, Clone)]
#[must_use = "a process starts with `spawn` or `output`"]
pub struct ExecBuilder<'vm> {
    vm: &'vm Vm,
    wishes: Wishes,
    stdin: ExecStdin,
    deadline: Deadline,
    output_limit: usize,
}

impl<'vm> ExecBuilder<'vm> {
    pub(crate) fn new(vm: &'vm Vm) -> Self {
        Self {
            vm,
            wishes: Wishes::default(),
            stdin: ExecStdin::Null,
            deadline: Deadline::NEVER,
            output_limit: DEFAULT_OUTPUT_LIMIT,
        }
    }

    /// Program and arguments. A program without a slash is looked up in the PATH of the environment.
    pub fn argv<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.wishes.argv = byte_strings(words);
        self
    }

    /// Sets a variable on top of the VM's environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.wishes.env.push(variable(key.as_ref(), value.as_ref()));
        self
    }

    /// Takes a variable of the VM's out of the environment.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.wishes.env.push(key.as_ref().into());
        self
    }

    /// Runs as this user: `user`, `uid`, `user:group`, `uid:gid` and mixtures.
    pub fn user(mut self, user: impl AsRef<OsStr>) -> Self {
        self.wishes.user = Some(user.as_ref().into());
        self
    }

    /// Runs in this directory; it is made where missing.
    pub fn cwd(mut self, dir: impl AsRef<OsStr>) -> Self {
        self.wishes.cwd = Some(dir.as_ref().into());
        self
    }

    /// Standard input; end of file by default.
    pub fn stdin(mut self, stdin: ExecStdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Runs it in a terminal of this size instead of at the end of pipes: everything it writes comes as standard output,
    /// with the terminal's line ends, and the end of its input is typed (Ctrl-D).
    pub const fn tty(mut self, size: WindowSize) -> Self {
        self.wishes.tty = Some(size);
        self
    }

    /// The guest kills the process and its group after this long; [`Exit::timed_out`] says so.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.wishes.timeout = Some(timeout);
        self
    }

    /// [`Self::output`] gives up at this moment, and the process is killed. [`Self::spawn`] waits for the VM only.
    pub fn deadline(mut self, deadline: impl Into<Deadline>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// The most [`Self::output`] collects of each stream, 256 MiB by default; more is an error.
    pub const fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Runs the process to its end and collects its output, in this thread.
    pub fn output(self) -> Result<Output, Error> {
        let (deadline, limit) = (self.deadline, self.output_limit);
        let allowed = deadline.remaining().unwrap_or_default();
        let vm = self.vm;
        match collect(&self.open()?, limit, deadline) {
            Ok((exit, Collected { stdout, stderr })) => Ok(Output {
                exit,
                stdout,
                stderr,
            }),
            Err(CollectError::TimedOut) => Err(Error::Deadline {
                waiting_for: "the process",
                limit: allowed,
            }),
            Err(CollectError::Session(error)) => Err(vm.reach().explain(error)),
        }
    }

    /// Starts the process and hands out its streams. Does not wait for the guest's answer: a program that
    /// does not exist is reported by [`Child::wait`] and [`Child::pid`], and its streams are empty.
    pub fn spawn(self) -> Result<Child, Error> {
        let streaming = self.stdin == ExecStdin::Stream;
        let reach = self.vm.reach().clone();
        let has_terminal = self.wishes.tty.is_some();
        let session = Arc::new(self.open()?.with_wake().map_err(SessionError::Socket)?);
        Ok(Child {
            stdin: streaming.then(|| StdinWriter::new(Arc::clone(&session))),
            stdout: Some(OutputReader::new(
                Arc::clone(&session),
                OutputStream::Stdout,
            )),
            stderr: Some(OutputReader::new(
                Arc::clone(&session),
                OutputStream::Stderr,
            )),
            session,
            reach,
            has_terminal,
        })
    }

    /// Sends the request on a stream of its own.
    fn open(mut self) -> Result<Session, Error> {
        self.wishes.stdin = self.stdin != ExecStdin::Null;
        let process = self.vm.defaults().process(self.wishes)?;
        let session = Session::new(self.vm.reach().connect(self.deadline)?);
        session.request(&Request::new(RequestBody::Exec(process)))?;
        if let ExecStdin::Bytes(bytes) = self.stdin {
            session.feed(bytes);
        }
        Ok(session)
    }
}

/// A process that was started in a VM. It is killed when this and all streams taken from it are dropped
/// before its end.
#[derive(Debug)]
pub struct Child {
    /// Standard input, with [`ExecStdin::Stream`]. Dropping it closes the stream.
    pub stdin: Option<StdinWriter>,
    /// Standard output.
    pub stdout: Option<OutputReader>,
    /// Standard error.
    pub stderr: Option<OutputReader>,
    session: Arc<Session>,
    reach: Reach,
    has_terminal: bool,
}

impl Child {
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

    /// Sends a signal to the process group.
    pub fn signal(&self, signal: Signal) {
        self.session.signal(signal.number());
    }

    /// Kills the process group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Changes the size of its terminal; only with [`ExecBuilder::tty`].
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
