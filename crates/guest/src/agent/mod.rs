//! The agent: the host's hand inside the VM. One thread, one epoll loop, nothing ever waits for a peer.
//!
//! Before the template point it opens everything that can be opened; then it knocks at the host and waits.
//! What happens later happens on a session.

mod connection;
mod freeze;
mod input;
mod output;
mod readiness;
mod reaper_link;
mod reidentify;
mod running;
mod schedule;
mod series;
mod serve;
mod session;
mod sessions;
mod start;
mod stop;
mod streams;
#[cfg(test)]
mod tests;
mod token;
mod usage;
mod victims;

use crate::console;
use crate::failure::failure;
use crate::init::sysctl::{self, Farewell};
use crate::init::{BootError, Cgroup, Step, caches::Caches};
use crate::machine::{Live, Prepared};
use crate::process::UserFiles;
use crate::sys::epoll::{Epoll, Interest};
use crate::sys::{fd, process, signal, socket};
use freeze::Frost;
use proto::frame::{HEADER_LEN, MAX_DATA};
use proto::guest::{AGENT_PORT, READY_PORT};
use proto::session::{Event, FailureKind};
use readiness::Readiness;
use reaper_link::ReaperLink;
use running::Running;
use schedule::Schedule;
use sessions::Sessions;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;
use stop::Stopping;
use token::{SessionId, Token};
use victims::KernelLog;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Happenings taken from the kernel at a time.
const BATCH: usize = 64;

/// Whether the machine has been set up.
#[derive(Debug)]
enum Machine {
    /// Before `Start` or `Prepare`.
    Template(Box<Prepared>),
    /// Ready for processes.
    Up(Live),
    /// It could not be set up, and why.
    Failed(String),
}

/// The workload of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    /// There is none yet, or there never will be.
    None,
    /// The reaper has been told to start it, as a child or in its own place.
    Running { first: bool },
    /// It has ended; if it was the first of the namespace, nothing can run there anymore.
    Ended { first: bool },
}

/// The agent.
#[derive(Debug)]
struct Agent {
    epoll: Epoll,
    listener: OwnedFd,
    child_ends: OwnedFd,
    reaper: ReaperLink,
    cgroup: Cgroup,
    /// /dev/null, for processes without standard input.
    null: OwnedFd,
    users: UserFiles,
    machine: Machine,
    workload: Workload,
    /// Its id in its namespace, once it runs.
    workload_pid: Option<i32>,
    /// While it is frozen.
    frost: Option<Frost>,
    /// Which life of the machine this is; none if it is the first.
    generation: Option<[u8; 16]>,
    caches: Caches,
    sessions: Sessions,
    schedule: Schedule,
    readiness: Readiness,
    /// Which session a child of ours belongs to; none if its session has gone.
    children: BTreeMap<process::Pid, SessionId>,
    /// The session of the workload.
    main: Option<SessionId>,
    /// The session that is told of the machine where there is no workload.
    witness: Option<SessionId>,
    /// The machine stays when the workload has ended.
    stay: bool,
    /// It also stays when something has failed.
    keep_on_failure: bool,
    stopping: Stopping,
    /// When to listen again, after a connection could not be taken.
    accept_again: Option<Instant>,
    kernel_log: KernelLog,
    /// Kills for want of memory that have been told to the host.
    memory_kills_told: u64,
    /// Kills for want of memory that are some session's exit.
    memory_kills_attributed: u64,
    /// Our own limit of open files is up, so that processes need theirs put back.
    many_files: bool,
    farewell: Farewell,
    /// Header and data of one frame.
    buffer: Box<[u8]>,
}

/// The whole life of the agent.
pub fn run(cgroup: Cgroup) -> ! {
    console::report_panics("agent");
    let mut agent = match Agent::open(cgroup) {
        Ok(agent) => agent,
        Err(error) => {
            console::fatal(&error.to_string());
            process::exit(console::REPORTED);
        }
    };
    // The template point: from here on the host may freeze the machine. Refusing is its answer to the knock.
    if let Err(error) = socket::knock(READY_PORT).step("knock at the host") {
        console::fatal(&error.to_string());
        process::exit(console::REPORTED);
    }
    let end = loop {
        match agent.serve() {
            Err(reason) if agent.is_kept_after(&reason) => {}
            end => break end,
        }
    };
    agent.end_machine();
    match end {
        Ok(()) => {
            // One line too many is no reason to fail.
            let _ = agent.farewell.silence();
            process::exit(0)
        }
        Err(reason) => {
            console::agent_died(&reason);
            process::exit(console::REPORTED);
        }
    }
}

impl Agent {
    /// Everything up to the template point.
    fn open(cgroup: Cgroup) -> Result<Self, BootError> {
        // Before /proc shows the workload's processes only.
        let kernel_log = KernelLog::open().step("open the kernel's log")?;
        let reaper = ReaperLink::fork(&cgroup)?;
        sysctl::apply().step("set kernel parameters")?;
        let prepared = Prepared::open().step("prepare for a workload")?;
        let child_ends = signal::child_ends().step("watch for ended children")?;
        let epoll = Epoll::new(BATCH).step("make an epoll instance")?;
        let listener = socket::listen(AGENT_PORT, BACKLOG).step("listen on vsock")?;
        let register = |fd: &OwnedFd, interest, token: Token| {
            epoll
                .add(fd, interest, token.to_bits())
                .step("register with epoll")
        };
        register(&listener, Interest::Readable, Token::Listener)?;
        register(&child_ends, Interest::Readable, Token::ChildEnds)?;
        register(
            cgroup.memory_events(),
            Interest::PriorityEdge,
            Token::MemoryEvents,
        )?;
        register(
            cgroup.freezer().events(),
            Interest::PriorityEdge,
            Token::Freezer,
        )?;
        epoll
            .add(&reaper, Interest::Readable, Token::Reaper.to_bits())
            .step("register with epoll")?;
        Ok(Self {
            epoll,
            listener,
            child_ends,
            reaper,
            cgroup,
            null: fd::open(c"/dev/null", libc::O_RDWR).step("open /dev/null")?,
            users: UserFiles::default(),
            machine: Machine::Template(Box::new(prepared)),
            workload: Workload::None,
            workload_pid: None,
            frost: None,
            generation: None,
            caches: Caches::open().step("open drop_caches")?,
            sessions: Sessions::default(),
            schedule: Schedule::default(),
            readiness: Readiness::open(Path::new(readiness::LISTS))
                .step("open the list of sockets")?,
            children: BTreeMap::new(),
            main: None,
            witness: None,
            stay: false,
            keep_on_failure: false,
            stopping: Stopping::No,
            accept_again: None,
            kernel_log,
            memory_kills_told: 0,
            memory_kills_attributed: 0,
            many_files: false,
            farewell: Farewell::open().step("open kernel.printk")?,
            buffer: vec![0; HEADER_LEN + MAX_DATA].into_boxed_slice(),
        })
    }

    /// Whether to go on after a fatal error, as the host wished, so that it can look around. Once: what fails at once
    /// again would fail for ever.
    fn is_kept_after(&mut self, reason: &str) -> bool {
        let kept = std::mem::take(&mut self.keep_on_failure);
        if kept {
            self.stay = true;
            self.finish_main(&Event::Failed(failure(FailureKind::System, reason)));
        }
        kept
    }

    /// The process of a session that is still open.
    fn running(&mut self, id: SessionId) -> Option<&mut Running> {
        self.sessions.get(id)?.running()
    }

    /// The earliest moment at which something has to be done unasked.
    fn next_deadline(&self) -> Option<Instant> {
        [
            match &self.frost {
                Some(frost) => frost.deadline(),
                None => self.schedule.first_deadline(),
            },
            match &self.frost {
                // Nothing becomes ready meanwhile.
                Some(_) => None,
                None => self.readiness.next_look(),
            },
            self.stopping.deadline(),
            self.accept_again,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
