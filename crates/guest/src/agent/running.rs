//! A process that a session started, and its three streams.

use super::connection::{Connection, Lost};
use super::input::{Input, Written};
use super::output::Output;
use crate::sys::process::{self, Pid};
use crate::sys::terminal;
use proto::frame::{HEADER_LEN, Kind, MAX_DATA};

use proto::session::{Event, Exit, ExitStatus, OutputStream, WindowSize};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Output taken from a pipe at a time: whole pages of the pipe, and with the header in front no more than
/// one vsock packet (64 KiB), because five bytes more would travel as a packet of their own.
const CHUNK: usize = 60 << 10;
const _: () = assert!(CHUNK <= MAX_DATA && HEADER_LEN + CHUNK <= 64 << 10);

/// Whom signals go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Our own child, the leader of its process group.
    Group(Pid),
    /// A worker of ours, which may not lead a process group yet. One that is to go tidies up first.
    Worker(Pid),
    /// The workload, a child of the reaper.
    Workload,
    /// The workload, in the reaper's place: first of its PID namespace.
    First(Pid),
}

/// What a process's streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Pipes.
    Pipes,
    /// One terminal, whose end of ours is that of standard output.
    Terminal,
}

/// Our ends of a process's streams.
#[derive(Debug)]
pub struct Ends {
    /// Write end of standard input, unless that is /dev/null.
    pub stdin: Option<OwnedFd>,
    /// Read end of standard output.
    pub stdout: OwnedFd,
    /// Read end of standard error; a terminal has none of its own.
    pub stderr: Option<OwnedFd>,
    /// What they are.
    pub medium: Medium,
}

/// The process of a session, from the request to its exit.
#[derive(Debug)]
pub struct Running {
    target: Target,
    started: Instant,
    deadline: Option<Instant>,
    medium: Medium,
    stdin: Option<Input>,
    outputs: [Output; 2],
    /// The host has been told that it runs: output comes after that.
    announced: bool,
    /// One of our signals killed it: then it was not the kernel for want of memory.
    killed: bool,
    timed_out: bool,
    exit: Option<Exit>,
}

/// What the end of a process looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Code or signal.
    pub status: ExitStatus,
    /// Peak resident memory.
    pub max_rss_kib: u64,
}

impl Running {
    /// A process that was started at this moment, to be killed at that one.
    pub fn new(target: Target, ends: Ends, started: Instant, deadline: Option<Instant>) -> Self {
        Self {
            target,
            started,
            deadline,
            medium: ends.medium,
            stdin: ends.stdin.map(|stdin| Input::new(stdin, ends.medium)),
            outputs: [
                Output::new(Kind::Stdout, Some(ends.stdout), ends.medium),
                Output::new(Kind::Stderr, ends.stderr, ends.medium),
            ],
            announced: false,
            killed: false,
            timed_out: false,
            exit: None,
        }
    }

    /// It follows another one on the same session, whose unpaid output counts.
    pub const fn inherit(&mut self, previous: &Self) {
        self.outputs[0].inherit(&previous.outputs[0]);
        self.outputs[1].inherit(&previous.outputs[1]);
    }

    /// The host has been told that it runs.
    pub const fn announce(&mut self) {
        self.announced = true;
    }

    /// When it is killed.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Standard input.
    pub const fn stdin(&mut self) -> Option<&mut Input> {
        self.stdin.as_mut()
    }

    /// Standard output or error.
    pub const fn output(&mut self, stream: OutputStream) -> &mut Output {
        match stream {
            OutputStream::Stdout => &mut self.outputs[0],
            OutputStream::Stderr => &mut self.outputs[1],
        }
    }

    /// Nobody is interested in it anymore. A terminal is hung up, and what outlives that was meant to. The workload is
    /// not ours to end: the machine's end does it.
    pub fn abandon(&mut self) {
        match self.target {
            _ if self.has_terminal() => {
                self.signal(libc::SIGHUP);
                self.signal(libc::SIGCONT);
            }
            Target::Worker(pid) if self.exit.is_none() => {
                process::kill(pid, libc::SIGTERM);
            }
            _ => {
                self.signal(libc::SIGKILL);
            }
        }
    }

    /// Somebody else has its streams from now on: its input is at its end, its output starts with a full window.
    pub fn hand_over(&mut self) {
        if let Target::Worker(_) = self.target {
            // The end of its input is not the end of what it is to write.
            self.abandon();
        }
        self.stdin = None;
        for output in &mut self.outputs {
            output.start_over();
        }
    }

    /// Its host leaves, and it goes on: it gets the input that has come, and its output goes nowhere.
    pub fn leave(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            stdin.leave();
        }
        for output in &mut self.outputs {
            output.start_over();
        }
    }

    /// Time stood still for this long.
    pub fn postpone(&mut self, by: Duration) {
        self.deadline = self.deadline.and_then(|at| at.checked_add(by));
    }

    /// Whether its streams are a terminal.
    pub fn has_terminal(&self) -> bool {
        self.medium == Medium::Terminal
    }

    /// Its terminal has another size; whether it has a terminal.
    pub fn resize(&self, size: WindowSize) -> bool {
        if let (Medium::Terminal, Some(terminal)) = (self.medium, self.outputs[0].descriptor()) {
            // A size is all the kernel wants to know.
            let _ = terminal::resize(terminal, size);
        }
        self.has_terminal()
    }

    /// Whether it has not ended yet.
    pub const fn is_alive(&self) -> bool {
        self.exit.is_none()
    }

    /// Signals it, if that is not the reaper's to do. Returns whether it was.
    pub fn signal(&mut self, signal: i32) -> bool {
        self.killed |= signal == libc::SIGKILL;
        match self.target {
            _ if self.exit.is_some() => true,
            Target::Group(pid) => {
                process::kill_group(pid, signal);
                true
            }
            Target::First(pid) | Target::Worker(pid) => {
                process::kill(pid, signal);
                true
            }
            Target::Workload => false,
        }
    }

    /// Its time is up.
    pub const fn time_out(&mut self) {
        self.timed_out = true;
        self.killed = true;
    }

    /// It has ended. `out_of_memory` looks whether the kernel has killed anything for want of memory.
    pub fn end(&mut self, ended: Ended, out_of_memory: impl FnOnce() -> bool) {
        let killed = ended.status == ExitStatus::Signal(libc::SIGKILL);
        self.exit = Some(Exit {
            status: ended.status,
            duration_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            max_rss_kib: ended.max_rss_kib,
            timed_out: self.timed_out,
            out_of_memory: killed && !self.killed && out_of_memory(),
        });
        self.stdin = None;
        for output in &mut self.outputs {
            output.process_ended();
        }
    }

    /// The exit, once all output has been sent.
    pub fn finished(&self) -> Option<Exit> {
        self.exit
            .filter(|_| self.outputs.iter().all(Output::is_drained))
    }

    /// Moves bytes both ways as far as they go, one piece of each output at most. Whether there is more to
    /// do at once.
    pub fn move_bytes(
        &mut self,
        connection: &mut Connection,
        frame: &mut [u8],
    ) -> Result<bool, Lost> {
        if let Some(stdin) = &mut self.stdin {
            match stdin.write_out() {
                Written::Nothing => {}
                Written::Credit(bytes) => connection.queue(&Event::StdinCredit(bytes))?,
                Written::Closed => connection.queue(&Event::StdinClosed)?,
            }
        }
        if !self.announced {
            return Ok(false);
        }
        for output in &mut self.outputs {
            connection.flush()?;
            if connection.is_flushed() && output.is_ready() {
                let count = output.read(&mut frame[HEADER_LEN..HEADER_LEN + CHUNK]);
                if count > 0 {
                    connection.send_data(output.kind(), &mut frame[..HEADER_LEN + count])?;
                    if connection.is_to_nobody() {
                        output.start_over();
                    }
                }
            }
        }
        Ok(connection.is_flushed() && self.outputs.iter().any(Output::is_ready))
    }
}
