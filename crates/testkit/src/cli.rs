//! One run of the program `supermachine`.

use crate::processes::wait_for_exit;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// A command line of `supermachine` about to run.
pub struct Cli {
    pub(crate) command: Command,
}

/// What a finished command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error.
    pub stderr: String,
    /// The exit code, or 128 plus the signal that ended the command itself.
    pub code: i32,
}

impl Output {
    /// Standard output as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is text")
    }

    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "stderr: {}", self.stderr);
        self.text()
    }
}

impl Cli {
    /// Sets a variable for the command.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs to the end with nothing on standard input.
    #[track_caller]
    pub fn output(self) -> Output {
        self.start().finish()
    }

    /// Runs to the end with these bytes on standard input.
    #[track_caller]
    pub fn output_with_input(self, input: &[u8]) -> Output {
        let mut running = self.start();
        let mut stdin = running.take_stdin();
        std::thread::scope(|scope| {
            // The command may end without reading all; what matters then is what it says.
            scope.spawn(move || drop(stdin.write_all(input)));
            running.finish()
        })
    }

    /// Starts it with pipes for all three streams.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let pipes = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = pipes
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.command));
        let mut stderr = child.stderr.take().expect("standard error is piped");
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).expect("a pipe can be read");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let stdin = child.stdin.take();
        Running {
            child,
            stdin,
            stdout: Some(stdout),
            stderr,
        }
    }
}

/// A command that runs.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: JoinHandle<String>,
}

impl Running {
    /// Its standard input; dropping it is the end of the file.
    #[track_caller]
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("standard input was not taken yet")
    }

    /// The next line it prints, without its end; the way to wait until it has come somewhere.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self
            .stdout
            .as_mut()
            .expect("standard output was not closed");
        let length = stdout
            .read_line(&mut line)
            .expect("standard output is text");
        assert!(
            length > 0,
            "the command ended instead of printing another line"
        );
        line.trim_end_matches('\n').to_owned()
    }

    /// Closes our end of its standard output, as `head` does.
    pub fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Its process id.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal)
            .expect("the command has not been waited for yet");
    }

    /// Closes its standard input, if still ours, and waits for its end.
    pub fn finish(mut self) -> Output {
        drop(self.stdin.take());
        self.wait()
    }

    /// Waits for its end with its standard input left open.
    pub fn wait(mut self) -> Output {
        let mut stdout = Vec::new();
        if let Some(mut reader) = self.stdout.take() {
            reader.read_to_end(&mut stdout).expect("a pipe can be read");
        }
        let status = self.child.wait().expect("a child can be waited for");
        let stderr = self
            .stderr
            .join()
            .expect("the reader of standard error does not panic");
        Output {
            stdout,
            stderr,
            code: code(status),
        }
    }

    /// Whether it ends within this time, still to be waited for.
    pub fn ends_within(&self, limit: Duration) -> bool {
        wait_for_exit(self.pid(), limit)
    }
}

pub(crate) fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().expect("a process exits or is killed"))
}
