//! Credential helpers: programs named `docker-credential-NAME` that keep logins in a key ring.
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use super::Credentials;

/// Helpers may ask the user to unlock a key ring, but not for ever.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const OUTPUT_LIMIT: u64 = 1 << 20;
/// What every helper prints when it knows no login.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Why a credential helper gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The name would lead to another program.
    #[error("{name:?} is not the name of a credential helper")]
    Name {
        /// The name in the configuration.
        name: String,
    },
    /// It is not installed.
    #[error(
        "the program {program} is not on PATH: install it, or remove it from the configuration"
    )]
    Missing {
        /// The program.
        program: String,
    },
    /// It could not be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The error of the system.
        source: io::Error,
    },
    /// It does not end.
    #[error("{program} gave no answer within {} seconds", limit.as_secs())]
    Timeout {
        /// The program.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
    /// It said no.
    #[error("{program} failed ({status}): {message}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The first line it printed.
        message: String,
    },
    /// Its answer is not what the protocol says.
    #[error("{program} gave an answer that is not the expected JSON")]
    Answer {
        /// The program.
        program: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks `docker-credential-NAME` for the login of `server`. `None`: it knows none.
pub(super) fn get(
    name: &str,
    server: &str,
    search_path: Option<&OsStr>,
) -> Result<Option<Credentials>, HelperError> {
    let is_plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !is_plain || name.is_empty() {
        return Err(HelperError::Name {
            name: name.to_owned(),
        });
    }
    let program = format!("docker-credential-{name}");
    let mut command = Command::new(&program);
    if let Some(path) = search_path {
        command.env("PATH", path);
    }
    ask(command, &program, server, TIME_LIMIT)
}

/// Runs a helper by the protocol of credential helpers.
pub(super) fn ask(
    command: Command,
    program: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Credentials>, HelperError> {
    let (status, output) = exchange(command, program, server, limit)?;
    let text = String::from_utf8_lossy(&output);
    if !status.success() {
        if text.contains(NOT_FOUND) {
            return Ok(None);
        }
        // Helpers report errors on stdout. A secret is only printed on success.
        let message = first_line(&text);
        return Err(HelperError::Failed {
            program: program.to_owned(),
            status,
            message,
        });
    }
    // The parser's own message could quote the secret.
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| HelperError::Answer {
        program: program.to_owned(),
    })?;
    Ok(match (answer.username.as_str(), answer.secret.is_empty()) {
        (_, true) => None,
        ("<token>", false) => Some(Credentials::IdentityToken(answer.secret)),
        (_, false) => Some(Credentials::Basic {
            username: answer.username,
            password: answer.secret,
        }),
    })
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let shown: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    if shown.is_empty() {
        "it printed nothing".to_owned()
    } else {
        shown
    }
}

fn exchange(
    mut command: Command,
    program: &str,
    server: &str,
    limit: Duration,
) -> Result<(ExitStatus, Vec<u8>), HelperError> {
    command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => HelperError::Missing {
            program: program.to_owned(),
        },
        _ => HelperError::Run {
            program: program.to_owned(),
            source,
        },
    })?;
    let answer = converse(&mut child, server, limit);
    let failed = |source| HelperError::Run {
        program: program.to_owned(),
        source,
    };
    match answer {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => {
            kill(&mut child);
            Err(HelperError::Timeout {
                program: program.to_owned(),
                limit,
            })
        }
        Err(error) => {
            kill(&mut child);
            Err(failed(error))
        }
    }
}

fn kill(child: &mut Child) {
    // Both fail only if the child has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// `None`: not within the limit.
fn converse(
    child: &mut Child,
    server: &str,
    limit: Duration,
) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let deadline = Instant::now() + limit;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()) {
            // A helper that knows without asking need not read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
    }
    let Some(stdout) = child.stdout.take() else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    // The thread ends with the helper's output: at the latest when the helper is killed.
    thread::Builder::new()
        .name("credential-helper".into())
        .spawn(move || {
            let mut output = Vec::new();
            let result = stdout
                .take(OUTPUT_LIMIT)
                .read_to_end(&mut output)
                .map(|_| output);
            // Nobody listens any more after the time limit.
            let _ = sender.send(result);
        })?;
    let output = match receiver.recv_timeout(limit) {
        Ok(output) => output?,
        Err(RecvTimeoutError::Timeout) => return Ok(None),
        Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    let ended = wait_until(child, deadline)?;
    Ok(ended.map(|status| (status, output)))
}

/// Waits for the end of a helper that closed its output.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // More than a Timespec holds is no limit.
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return child.wait().map(Some),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
