//! The pipes or the terminal between a process and us.

use super::running::{Ends, Medium};
use crate::sys::{fd, terminal};
use proto::session::{Process, WindowSize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The process's ends, to be closed here once it has them.
#[derive(Debug)]
pub enum ProcessEnds {
    /// One for each.
    Pipes {
        /// Unless that is /dev/null.
        stdin: Option<OwnedFd>,
        /// Write end.
        stdout: OwnedFd,
        /// Write end.
        stderr: OwnedFd,
    },
    /// One for all.
    Terminal(OwnedFd),
}

impl ProcessEnds {
    /// In the order of their numbers; `null` is for a process without standard input.
    pub fn stdio<'a>(&'a self, null: &'a OwnedFd) -> [BorrowedFd<'a>; 3] {
        match self {
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => [
                stdin.as_ref().unwrap_or(null).as_fd(),
                stdout.as_fd(),
                stderr.as_fd(),
            ],
            Self::Terminal(terminal) => [terminal.as_fd(); 3],
        }
    }
}

/// The streams a process wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// A way in.
    pub stdin: bool,
    /// A terminal instead of pipes.
    pub tty: Option<WindowSize>,
}

impl From<&Process> for Wanted {
    fn from(process: &Process) -> Self {
        Self {
            stdin: process.stdin,
            tty: process.tty,
        }
    }
}

/// What a process wants: our ends, which do not block, and its own, which do.
pub fn open(wanted: Wanted) -> io::Result<(Ends, ProcessEnds)> {
    match wanted.tty {
        Some(size) => terminal_of(size, wanted.stdin),
        None => pipes(wanted.stdin),
    }
}

/// With or without a way to type.
fn terminal_of(size: WindowSize, stdin: bool) -> io::Result<(Ends, ProcessEnds)> {
    let (ours, theirs) = terminal::open(size)?;
    fd::set_nonblocking(&ours)?;
    let ends = Ends {
        stdin: stdin.then(|| ours.try_clone()).transpose()?,
        stdout: ours,
        stderr: None,
        medium: Medium::Terminal,
    };
    Ok((ends, ProcessEnds::Terminal(theirs)))
}

fn pipes(stdin: bool) -> io::Result<(Ends, ProcessEnds)> {
    let input = if stdin {
        let (theirs, ours) = fd::pipe()?;
        fd::set_nonblocking(&ours)?;
        Some((ours, theirs))
    } else {
        None
    };
    let (our_stdin, stdin) = input.unzip();
    let (our_stdout, stdout) = fd::pipe()?;
    fd::set_nonblocking(&our_stdout)?;
    let (our_stderr, stderr) = fd::pipe()?;
    fd::set_nonblocking(&our_stderr)?;
    let ends = Ends {
        stdin: our_stdin,
        stdout: our_stdout,
        stderr: Some(our_stderr),
        medium: Medium::Pipes,
    };
    Ok((
        ends,
        ProcessEnds::Pipes {
            stdin,
            stdout,
            stderr,
        },
    ))
}
