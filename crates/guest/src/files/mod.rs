//! What the host asks about files, carried out by a worker: a fork of the agent that lives in the workload's cgroup and
//! PID namespace, so that what it uses counts there, and that may wait as long as a file system makes it wait.
//!
//! The worker's root is the image's, as everything's is by then: no path and no symbolic link leads anywhere else.

mod change;
mod look;
mod transfer;

use crate::failure::{Context, failure, shown};
use crate::init::Cgroup;
use crate::sys::process::{self, Fork, Pid};
use crate::sys::{fd, signal, system};
use proto::files::{FileRequest, encode_failure};
use proto::session::{Failure, FailureKind, StagedFile};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The exit code with a failure on the standard error.
const FAILED: i32 = 1;
/// The exit code when something of ours is wrong.
const BROKEN: i32 = 2;

/// Starts a worker. `stdio` is its standard input, output and error.
pub fn start(
    request: &FileRequest,
    stdio: [BorrowedFd<'_>; 3],
    cgroup: &Cgroup,
) -> Result<Pid, Failure> {
    start_worker(cgroup, || {
        work(stdio, |mut streams| carry_out(request, &mut streams))
    })
}

fn start_worker(cgroup: &Cgroup, work: impl FnOnce() -> i32) -> Result<Pid, Failure> {
    let fork = match process::fork_worker(cgroup) {
        // The workload has delegated its cgroup's controllers further down.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => cgroup
            .fallback()
            .and_then(|fallback| process::fork_worker(&fallback)),
        other => other,
    };
    match fork.failing(FailureKind::System, || "start a worker for files".into())? {
        Fork::Parent(pid, _) => Ok(pid),
        Fork::Child => {
            // Nothing may unwind into the agent's own code.
            let code = catch_unwind(AssertUnwindSafe(work));
            process::exit(code.unwrap_or(BROKEN))
        }
    }
}

/// Starts a worker that writes files for a user and group. A failure goes encoded to `report`, with [`FAILED`] as the exit code.
pub fn stage(
    files: &[StagedFile],
    owner: (u32, u32),
    null: BorrowedFd<'_>,
    report: BorrowedFd<'_>,
    cgroup: &Cgroup,
) -> Result<Pid, Failure> {
    start_worker(cgroup, || {
        work([null, null, report], |_| {
            files.iter().try_for_each(|file| {
                transfer::write(
                    &file.path,
                    Some(file.mode),
                    Some(owner),
                    &mut &file.contents[..],
                )
            })
        })
    })
}

fn work(stdio: [BorrowedFd<'_>; 3], task: impl FnOnce(Streams) -> Result<(), Failure>) -> i32 {
    // Asked to go while it has something half done, the worker tidies up first: see `is_told_to_go`.
    let settled = signal::block_termination()
        .and_then(|()| process::become_worker(stdio))
        .and_then(|()| std::env::set_current_dir("/"));
    if settled.is_err() {
        return BROKEN;
    }
    system::set_umask(0);
    let streams = Streams {
        input: fd::standard(libc::STDIN_FILENO),
        output: fd::standard(libc::STDOUT_FILENO),
    };
    match task(streams) {
        Ok(()) => 0,
        Err(failure) => {
            let told = fd::standard(libc::STDERR_FILENO).write_all(&encode_failure(&failure));
            if told.is_ok() { FAILED } else { BROKEN }
        }
    }
}

/// Where bytes come from and go to.
#[derive(Debug)]
struct Streams {
    input: File,
    output: File,
}

fn carry_out(request: &FileRequest, streams: &mut Streams) -> Result<(), Failure> {
    match request {
        FileRequest::Read { path } => transfer::read(path, &mut streams.output),
        FileRequest::Write { path, mode, owner } => {
            transfer::write(path, *mode, *owner, &mut streams.input)
        }
        FileRequest::Stat { path, links } => look::stat(path, *links, &mut streams.output),
        FileRequest::List { path } => look::list(path, &streams.output),
        FileRequest::Remove { path, depth } => change::remove(path, *depth),
        FileRequest::MakeDirectory { path, mode, depth } => {
            change::make_directory(path, *mode, *depth)
        }
        FileRequest::Rename { from, to } => change::rename(from, to),
        FileRequest::Pack { path, name, links } => {
            transfer::pack(path, name, *links, &streams.output)
        }
        FileRequest::Unpack { path, owners } => transfer::unpack(path, *owners, &streams.input),
    }
}

/// Whether whoever gave us the input is gone: its end is not the end of what was to be written then.
fn is_told_to_go() -> bool {
    signal::is_termination_pending()
}

/// A path of the host, which counts from the root.
fn path(bytes: &[u8]) -> Result<&Path, Failure> {
    use std::os::unix::ffi::OsStrExt;
    if bytes.is_empty() || bytes.contains(&0) {
        let what = format!("{:?} is no path", shown(bytes));
        return Err(failure(FailureKind::Request, what));
    }
    Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
}

/// Says what could not be done to which path.
trait On<T> {
    fn on(self, what: &str, path: &[u8]) -> Result<T, Failure>;
}

impl<T> On<T> for io::Result<T> {
    fn on(self, what: &str, path: &[u8]) -> Result<T, Failure> {
        self.failing(FailureKind::System, || format!("{what} {}", shown(path)))
    }
}
