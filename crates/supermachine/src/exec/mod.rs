//! Processes inside a running VM.

mod cancel;
mod chain;
mod child;

pub use cancel::Canceler;
pub use child::Child;

use crate::config::{byte_strings, variable};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::session::{CollectError, Session, SessionError, collect};
use crate::vm::Vm;
use crate::workload::Wishes;
use proto::session::{Exit, ExitStatus, Request, RequestBody, Series, StagedFile, WindowSize};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
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
    pub(crate) vm: &'vm Vm,
    pub(crate) wishes: Wishes,
    pub(crate) stdin: ExecStdin,
    pub(crate) deadline: Deadline,
    pub(crate) output_limit: usize,
    files: Vec<StagedFile>,
    pub(crate) canceler: Option<Canceler>,
}

impl<'vm> ExecBuilder<'vm> {
    pub(crate) fn new(vm: &'vm Vm) -> Self {
        Self {
            vm,
            wishes: Wishes::default(),
            stdin: ExecStdin::Null,
            deadline: Deadline::NEVER,
            output_limit: DEFAULT_OUTPUT_LIMIT,
            files: Vec::new(),
            canceler: None,
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

    /// Writes a file before the process is started, in the same round trip. It belongs to the process's user, and what has
    /// its path is replaced; its directory has to exist. A request has room for 4 MiB in all: what is larger is for
    /// [`crate::Files::write_from`].
    pub fn stage_file(
        mut self,
        path: impl AsRef<OsStr>,
        contents: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Self {
        self.files.push(StagedFile {
            path: path.as_ref().as_bytes().to_vec(),
            mode,
            contents: contents.into(),
        });
        self
    }

    /// As [`Self::stage_file`], with everything a reader gives.
    pub fn stage_reader(
        self,
        path: impl AsRef<OsStr>,
        mut reader: impl Read,
        mode: u32,
    ) -> std::io::Result<Self> {
        let mut contents = Vec::new();
        reader.read_to_end(&mut contents)?;
        Ok(self.stage_file(path, contents, mode))
    }

    /// Lets whoever has a clone of this end the process, while [`Self::output`] waits for it too.
    pub fn canceler(mut self, canceler: &Canceler) -> Self {
        self.canceler = Some(canceler.clone());
        self
    }

    /// Runs the process to its end and collects its output, in this thread.
    pub fn output(mut self) -> Result<Output, Error> {
        let (deadline, limit) = (self.deadline, self.output_limit);
        let allowed = deadline.remaining().unwrap_or_default();
        let vm = self.vm;
        let canceler = self.canceler.take();
        let session = Arc::new(self.open()?);
        if let Some(canceler) = canceler {
            canceler.watch(&session);
        }
        match collect(&session, limit, deadline) {
            Ok((exit, collected)) => Ok(collected.into_output(exit)),
            Err(CollectError::TimedOut) => Err(Error::Deadline {
                waiting_for: "the process",
                limit: allowed,
            }),
            Err(CollectError::Session(error)) => Err(vm.reach().explain(error)),
        }
    }

    /// Starts the process and hands out its streams. Does not wait for the guest's answer: a program that
    /// does not exist is reported by [`Child::wait`] and [`Child::pid`], and its streams are empty.
    pub fn spawn(mut self) -> Result<Child, Error> {
        let canceler = self.canceler.take();
        let streaming = child::Streaming(self.stdin == ExecStdin::Stream);
        let reach = self.vm.reach().clone();
        let has_terminal = self.wishes.tty.is_some();
        let session = Arc::new(self.open()?.with_wake().map_err(SessionError::Socket)?);
        if let Some(canceler) = canceler {
            canceler.watch(&session);
        }
        Ok(Child::new(session, reach, streaming, has_terminal))
    }

    /// What is asked of the agent, and the input that is given as a whole.
    pub(crate) fn request(mut self) -> Result<(RequestBody, Option<Vec<u8>>), Error> {
        self.wishes.stdin = self.stdin != ExecStdin::Null;
        let process = self.vm.defaults().process(self.wishes)?;
        let files = self.files;
        let body = if files.is_empty() {
            RequestBody::Exec(process)
        } else {
            let processes = vec![process];
            RequestBody::Series(Series { files, processes })
        };
        match self.stdin {
            ExecStdin::Bytes(bytes) => Ok((body, Some(bytes))),
            ExecStdin::Null | ExecStdin::Stream => Ok((body, None)),
        }
    }

    /// Sends the request on a stream of its own.
    fn open(self) -> Result<Session, Error> {
        let (vm, deadline) = (self.vm, self.deadline);
        let (body, input) = self.request()?;
        let session = Session::new(vm.reach().connect(deadline)?);
        session.request(&Request::new(body))?;
        if let Some(bytes) = input {
            session.feed(bytes);
        }
        Ok(session)
    }
}
