//! The pipes between a process and us.

use super::running::Ends;
use crate::sys::fd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The process's ends, to be closed here once it has them.
#[derive(Debug)]
pub struct ProcessEnds {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl ProcessEnds {
    /// In the order of their numbers; `null` is for a process without standard input.
    pub fn stdio<'a>(&'a self, null: &'a OwnedFd) -> [BorrowedFd<'a>; 3] {
        let stdin = self.stdin.as_ref().unwrap_or(null);
        [stdin.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()]
    }
}

/// Pipes for a process: our ends, which do not block, and its own, which do.
pub fn pipes(stdin: bool) -> io::Result<(Ends, ProcessEnds)> {
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
        stderr: our_stderr,
    };
    Ok((
        ends,
        ProcessEnds {
            stdin,
            stdout,
            stderr,
        },
    ))
}
