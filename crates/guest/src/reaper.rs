//! The first process of the workload's PID namespace: starts the workload as its child or becomes it, reaps
//! every orphan, and reports to the agent. It exists before the template point, so that a start costs no
//! fork.

use crate::console;
use crate::failure::{Context, failure};
use crate::init::{BootError, Step, mounts::mount_on};
use crate::process::{Plan, UserFiles};
use crate::sys::{fd, mount::Restrictions, process, signal, socket};
use proto::frame::{Decoder, Header, Kind};
use proto::session::{Failure, FailureKind, Process};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Agent to reaper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Start this as a child. Standard input, output and error ride along.
    Run(Process),
    /// Become this. Standard input, output and error ride along. Success is the end of the conversation.
    Become(Process),
    /// Signal the workload.
    Signal(i32),
    /// Kill the workload's process group.
    KillGroup,
}

/// Reaper to agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Report {
    /// The namespace is ready: /proc and cgroups are mounted.
    Ready,
    /// The workload runs; its id in the namespace.
    Started(i32),
    /// It does not.
    Failed(Failure),
    /// It ended.
    Ended {
        /// As `wait` has it.
        status: i32,
        /// Peak resident memory.
        max_rss_kib: u64,
    },
}

/// A stream of messages between the two.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    decoder: Decoder,
    riders: Vec<OwnedFd>,
}

impl Link {
    /// Speaks over a stream socket.
    pub const fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::new(),
            riders: Vec::new(),
        }
    }

    /// Sends a message. Waits if the other side is slow: it does nothing but read.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        stdio: Option<[BorrowedFd<'_>; 3]>,
    ) -> io::Result<()> {
        let payload = proto::encode(message);
        let bytes = [
            &Header::new(Kind::Control, payload.len()).to_bytes()[..],
            &payload,
        ]
        .concat();
        let mut sent = match stdio {
            Some(stdio) => socket::send_with(&self.socket, &bytes, stdio)?,
            None => 0,
        };
        while sent < bytes.len() {
            sent += socket::send(&self.socket, &bytes[sent..])?;
        }
        Ok(())
    }

    /// Waits for bytes and keeps them. Whether the other side is still there.
    pub fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let count = socket::receive_with(&self.socket, &mut buffer, &mut self.riders)?;
        self.decoder.push(&buffer[..count]);
        Ok(count > 0)
    }

    /// The next whole message that has been received.
    pub fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, Failure> {
        let broken = |_| {
            failure(
                FailureKind::System,
                "agent and reaper do not understand each other",
            )
        };
        match self.decoder.next_frame().map_err(|_| broken(()))? {
            Some((_, payload)) => proto::decode(payload).map(Some).map_err(|_| broken(())),
            None => Ok(None),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The whole life of the reaper.
pub fn run(socket: OwnedFd) -> ! {
    console::report_panics("reaper");
    let protection = match enter_namespace() {
        Ok(protection) => protection,
        Err(error) => {
            console::fatal(&error.to_string());
            process::exit(console::REPORTED);
        }
    };
    let mut reaper = Reaper {
        link: Link::new(socket),
        users: UserFiles::default(),
        workload: None,
        protection,
    };
    // The agent notices by itself when this process ends; the code tells it whether anyone was told why.
    match reaper.serve() {
        Ok(()) => process::exit(0),
        Err(error) => {
            console::fatal(&format!("reaper: {error}"));
            process::exit(console::REPORTED)
        }
    }
}

/// What has to be mounted from inside to show the inside.
fn enter_namespace() -> Result<Protection, BootError> {
    process::enter_new_cgroup_namespace().step("enter a cgroup namespace")?;
    mount_on(c"proc", c"/proc", c"proc", Restrictions::DATA_ONLY, c"")
        .step("mount proc on /proc")?;
    mount_on(
        c"cgroup2",
        c"/sys/fs/cgroup",
        c"cgroup2",
        Restrictions::DATA_ONLY,
        c"",
    )
    .step("mount cgroup2 on /sys/fs/cgroup")?;
    let protection = Protection::open().step("open oom_score_adj")?;
    protection
        .protect()
        .step("protect the reaper from the out-of-memory killer")?;
    Ok(protection)
}

/// Keeps the out-of-memory killer away from this process: it is in the workload's cgroup, where the kernel
/// looks for its victims, and its death would be everybody's.
struct Protection {
    score: OwnedFd,
}

impl Protection {
    /// For this process.
    fn open() -> io::Result<Self> {
        fd::open(c"/proc/self/oom_score_adj", libc::O_WRONLY).map(|score| Self { score })
    }

    fn protect(&self) -> io::Result<()> {
        fd::write_parameter(&self.score, b"-1000")
    }

    /// Children inherit what their parent has when they start, and a workload is fair game.
    fn expose(&self) -> io::Result<()> {
        fd::write_parameter(&self.score, b"0")
    }
}

struct Reaper {
    link: Link,
    users: UserFiles,
    workload: Option<process::Pid>,
    protection: Protection,
}

impl Reaper {
    /// Returns when the agent is gone.
    fn serve(&mut self) -> io::Result<()> {
        let child_ends = signal::child_ends()?;
        self.link.send(&Report::Ready, None)?;
        loop {
            let (order, child) = socket::wait_for_either(&self.link, &child_ends, -1)?;
            if child {
                signal::clear(&child_ends);
                self.reap()?;
            }
            if order && !self.take_orders()? {
                return Ok(());
            }
        }
    }

    /// The one place where children of this process are waited for.
    fn reap(&mut self) -> io::Result<()> {
        while let Some(ended) = process::reap(process::Patience::None) {
            if self.workload == Some(ended.pid) {
                self.workload = None;
                let report = Report::Ended {
                    status: ended.status,
                    max_rss_kib: ended.max_rss_kib,
                };
                self.link.send(&report, None)?;
            }
        }
        Ok(())
    }

    fn take_orders(&mut self) -> io::Result<bool> {
        if !self.link.receive()? {
            return Ok(false);
        }
        loop {
            match self.link.next() {
                Ok(Some(order)) => self.obey(order)?,
                Ok(None) => return Ok(true),
                Err(failure) => return Err(io::Error::other(failure.context)),
            }
        }
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        match (order, self.workload) {
            (Order::Run(process), _) => {
                let report = match self.start(process) {
                    Ok(pid) => Report::Started(pid),
                    Err(failure) => Report::Failed(failure),
                };
                self.link.send(&report, None)
            }
            (Order::Become(process), _) => {
                let failure = self.turn_into(process);
                self.link.send(&Report::Failed(failure), None)
            }
            (Order::Signal(signal), Some(workload)) => {
                process::kill(workload, signal);
                Ok(())
            }
            (Order::KillGroup, Some(workload)) => {
                process::kill_group(workload, libc::SIGKILL);
                Ok(())
            }
            // It has ended meanwhile; the report is on its way.
            (Order::Signal(_) | Order::KillGroup, None) => Ok(()),
        }
    }

    fn start(&mut self, process: Process) -> Result<i32, Failure> {
        let stdio = self.stdio()?;
        let plan = Plan::new(process, &mut self.users, None)?;
        self.expose()?;
        let result = plan.spawn([stdio[0].as_fd(), stdio[1].as_fd(), stdio[2].as_fd()], None);
        // What protected it once does so again.
        let _ = self.protection.protect();
        let child = result?;
        self.workload = Some(child.pid);
        Ok(child.inner_pid)
    }

    fn turn_into(&mut self, process: Process) -> Failure {
        let attempt = || {
            let stdio = self.stdio()?;
            let plan = Plan::new(process, &mut self.users, None)?;
            self.expose()?;
            process::unshare_root()
                .failing(FailureKind::System, || "leave the agent's root".into())?;
            Ok(plan.replace_self([stdio[0].as_fd(), stdio[1].as_fd(), stdio[2].as_fd()]))
        };
        match attempt() {
            Ok(failure) | Err(failure) => failure,
        }
    }

    fn expose(&self) -> Result<(), Failure> {
        let context = || "give the workload the usual out-of-memory score".into();
        self.protection
            .expose()
            .failing(FailureKind::System, context)
    }

    fn stdio(&mut self) -> Result<[OwnedFd; 3], Failure> {
        std::mem::take(&mut self.link.riders)
            .try_into()
            .map_err(|_| failure(FailureKind::System, "the workload's streams did not arrive"))
    }
}

/// A status as `wait` has it, in the protocol's words.
pub fn exit_of(status: i32) -> proto::session::ExitStatus {
    if libc::WIFSIGNALED(status) {
        proto::session::ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        proto::session::ExitStatus::Code(libc::WEXITSTATUS(status))
    }
}
