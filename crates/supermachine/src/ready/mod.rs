//! When a workload is ready to be used, and waiting for that.
//!
//! A port and a path are watched by the agent inside, so that an image without programs of its own can be waited for.
//! A command is tried again and again from here: each try is a process with an end and output of its own. The log is
//! followed where it is written.

mod condition;
mod error;
mod output;

pub use condition::{Pattern, Ready};
pub use error::ReadyError;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::log::LogReader;
use crate::session::{Answer, Session, SessionError, TimedOut};
use crate::vm::Vm;
use output::{Lines, tail};
use proto::session::{Awaited, ExitStatus, Request, RequestBody};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// From the end of one try of a command to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the supervisor gets to find out how a workload ended whose VM is gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What came of waiting.
#[derive(Debug)]
enum Found {
    Ready,
    /// Time is up; what the last try said.
    Late(Option<String>),
    /// The VM has ended, it seems; how that was noticed.
    Over(Option<Error>),
}

/// Waits until the workload is ready, for `limit` at most.
pub(crate) fn wait(vm: &Vm, ready: &Ready, limit: Duration) -> Result<(), Error> {
    vm.has_workload()?;
    let deadline = Deadline::after(limit);
    // Opened while it is there: that of a VM that leaves nothing goes with it.
    let log = vm.logs()?;
    let found = match ready {
        Ready::Listen(port) => inside(vm, Awaited::Listen(*port), deadline),
        Ready::File(path) => {
            let path = path.as_os_str().as_bytes().to_vec();
            inside(vm, Awaited::File(path), deadline)
        }
        Ready::Exec(argv) => by_trying(vm, argv, deadline),
        Ready::Log(pattern) => in_log(vm, pattern, deadline),
    }?;
    let condition = || ready.to_string();
    match found {
        Found::Ready => Ok(()),
        Found::Late(last) => Err(ReadyError::Late {
            condition: condition(),
            limit,
            last,
            output: tail(log),
        }
        .into()),
        Found::Over(noticed) => match vm.wait_deadline(LAST_WORDS) {
            Ok(exit) => Err(ReadyError::Ended {
                condition: condition(),
                exit,
                output: tail(log),
            }
            .into()),
            Err(Error::Deadline { .. }) => Err(noticed.unwrap_or(Error::Stopped)),
            Err(error) => Err(error),
        },
    }
}

/// Has the agent look.
fn inside(vm: &Vm, awaited: Awaited, deadline: Deadline) -> Result<Found, Error> {
    let session = match vm.reach().connect(deadline) {
        Ok(stream) => Session::new(stream),
        Err(error) => return Ok(Found::Over(Some(error))),
    };
    session.request(&Request::new(RequestBody::AwaitReady(awaited)))?;
    match session.wait_answer(Answer::Ready, deadline) {
        Ok(Ok(())) => Ok(Found::Ready),
        Ok(Err(error @ (SessionError::Guest(_) | SessionError::Protocol(_)))) => Err(error.into()),
        Ok(Err(error)) => Ok(Found::Over(Some(error.into()))),
        Err(TimedOut) => Ok(Found::Late(None)),
    }
}

/// Runs a command until it succeeds. One that does not exist yet may be on its way.
fn by_trying(vm: &Vm, argv: &[OsString], deadline: Deadline) -> Result<Found, Error> {
    loop {
        let last = match vm.exec_builder().argv(argv).deadline(deadline).output() {
            Ok(output) if output.success() => return Ok(Found::Ready),
            Ok(output) => match output.status() {
                ExitStatus::Code(code) => format!("it ended with exit code {code}"),
                ExitStatus::Signal(signal) => format!("signal {signal} ended it"),
            },
            Err(Error::Deadline { .. }) => {
                return Ok(Found::Late(Some("it was still running".to_owned())));
            }
            Err(Error::Session(
                error @ (SessionError::Guest(_) | SessionError::OutputLimit(_)),
            )) => error.to_string(),
            Err(error @ Error::Config(_)) => return Err(error),
            Err(error) => return Ok(Found::Over(Some(error))),
        };
        // The pause ends early with the workload.
        match vm.wait_deadline(deadline.min(Deadline::after(PAUSE))) {
            Err(Error::Deadline { .. }) if deadline.has_passed() => {
                return Ok(Found::Late(Some(last)));
            }
            Err(Error::Deadline { .. }) => {}
            Ok(_) | Err(_) => return Ok(Found::Over(None)),
        }
    }
}

/// Follows what the workload writes.
fn in_log(vm: &Vm, pattern: &Pattern, deadline: Deadline) -> Result<Found, Error> {
    let mut log: LogReader = vm.logs()?;
    let mut lines = Lines::default();
    loop {
        match log.follow_deadline(deadline) {
            Ok(Some(entry)) => {
                if lines.add(&entry, |line| pattern.is_in(line)) {
                    return Ok(Found::Ready);
                }
            }
            Ok(None) => return Ok(Found::Over(None)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(Found::Late(None)),
            Err(source) => {
                return Err(Error::Log {
                    path: vm.runtime().state().vms().join(vm.name()),
                    source,
                });
            }
        }
    }
}
