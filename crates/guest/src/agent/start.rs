//! Carrying out what a session asks for.

use super::reidentify::NO_WORKLOAD;
use super::running::{Running, Target};
use super::streams::{self, ProcessEnds, Wanted};
use super::token::{Part, SessionId, Token};
use super::{Agent, Machine, Workload};
use crate::failure::{Context, failure};
use crate::files;
use crate::init::{HARD_FILES, SOFT_FILES};
use crate::machine::put_secrets;
use crate::process::Plan;
use crate::reaper::Order;
use crate::sys::epoll::Interest;
use crate::sys::system;
use proto::files::FileRequest;
use proto::session::{self, Event, Failure, FailureKind, Process, RequestBody, Start};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Sessions above which our own limit of open files is raised: each has up to four.
const MANY_SESSIONS: usize = 200;

impl Agent {
    /// Carries a request out, or tells the host why not.
    pub(super) fn carry_out(&mut self, id: SessionId, request: RequestBody) {
        if self.sessions.get(id).is_none() {
            return;
        }
        let result = match request {
            RequestBody::Freeze(freeze) => self.freeze(id, &freeze),
            RequestBody::Reidentify(identity) => self.reidentify(id, &identity),
            other if self.frost.is_some() => {
                self.put_off_request(id, other);
                Ok(())
            }
            RequestBody::Start(start) => self.start(id, start),
            RequestBody::Prepare(machine) => self.prepare(id, &machine),
            RequestBody::Exec(process) => self.exec(id, process),
            RequestBody::Shutdown { signal, grace_ms } => self.shut_down(signal, grace_ms),
            RequestBody::AwaitReady(awaited) => self.await_ready(id, awaited),
            RequestBody::Files(request) => self.files(id, &request),
            RequestBody::Measure => self.measure(id),
            RequestBody::ListProcesses => self.list_processes(id),
            RequestBody::Series(series) => self.begin_series(id, series),
        };
        if result.is_err() && self.main == Some(id) {
            self.stay |= self.keep_on_failure;
        }
        if let (Err(failure), Some(session)) = (result, self.sessions.get(id)) {
            session.finish(&Event::Failed(failure));
        }
    }

    fn start(&mut self, id: SessionId, start: Start) -> Result<(), Failure> {
        self.set_machine_up(id, &start.machine)?;
        // From here on this is the main session, and its end is the machine's.
        self.main = Some(id);
        self.stay = start.stay;
        let first = !start.init || wants_to_be_first(&start.process.argv);
        let timeout_ms = start.process.timeout_ms;
        let (started, ends, theirs) = self.open_streams(id, Wanted::from(&start.process))?;
        let order = if first {
            Order::Become(start.process)
        } else {
            Order::Run(start.process)
        };
        self.reaper
            .order(&order, Some(theirs.stdio(&self.null)))
            .failing(FailureKind::System, || {
                "hand the workload to the reaper".into()
            })?;
        self.workload = Workload::Running { first };
        let target = if first {
            Target::First(self.reaper.pid)
        } else {
            Target::Workload
        };
        self.attach(
            id,
            Running::new(target, ends, started, deadline(started, timeout_ms)),
        );
        Ok(())
    }

    fn prepare(&mut self, id: SessionId, machine: &session::Machine) -> Result<(), Failure> {
        self.set_machine_up(id, machine)?;
        self.stay = true;
        self.witness = Some(id);
        if let Some(session) = self.sessions.get(id) {
            session.tell(&Event::Started { pid: NO_WORKLOAD });
        }
        Ok(())
    }

    fn set_machine_up(&mut self, id: SessionId, machine: &session::Machine) -> Result<(), Failure> {
        if !matches!(self.machine, Machine::Template(_)) {
            return Err(failure(
                FailureKind::Request,
                "this machine has been started before",
            ));
        }
        self.keep_on_failure = machine.keep_on_failure;
        // Half of a root is good for nothing: the machine ends when the host has heard why it failed, unless it is to be
        // kept.
        self.main = Some(id);
        let unknown = Machine::Failed(String::new());
        if let Machine::Template(prepared) = std::mem::replace(&mut self.machine, unknown) {
            let users = &mut self.users;
            let set_up = prepared.set_up(machine, &self.cgroup).and_then(|live| {
                put_secrets(&machine.extras, users)?;
                Ok(live)
            });
            match set_up {
                Ok(live) => self.machine = Machine::Up(live),
                Err(failure) => {
                    self.machine = Machine::Failed(not_set_up(&failure));
                    return Err(failure);
                }
            }
        }
        self.main = None;
        Ok(())
    }

    /// Whether a process can be started.
    pub(super) fn can_run(&self) -> Result<(), Failure> {
        match (&self.machine, self.workload) {
            (Machine::Up(_), Workload::Ended { first: true }) => Err(failure(
                FailureKind::Request,
                "the first process of the workload's namespace has ended: nothing can run there now",
            )),
            (Machine::Up(_), _) => Ok(()),
            (Machine::Failed(reason), _) => Err(failure(FailureKind::Request, reason)),
            (Machine::Template(_), _) => Err(failure(
                FailureKind::Request,
                "the machine has not been started",
            )),
        }
    }

    /// Starts a worker for a request about files.
    fn files(&mut self, id: SessionId, request: &FileRequest) -> Result<(), Failure> {
        self.can_run()?;
        let wanted = Wanted {
            stdin: matches!(
                request,
                FileRequest::Write { .. } | FileRequest::Unpack { .. }
            ),
            tty: None,
        };
        let (started, ends, theirs) = self.open_streams(id, wanted)?;
        let pid = files::start(request, theirs.stdio(&self.null), &self.cgroup)?;
        self.children.insert(pid, id);
        let mut running = Running::new(Target::Worker(pid), ends, started, None);
        running.announce();
        self.attach(id, running);
        Ok(())
    }

    pub(super) fn exec(&mut self, id: SessionId, process: Process) -> Result<(), Failure> {
        self.can_run()?;
        let timeout_ms = process.timeout_ms;
        let (started, ends, theirs) = self.open_streams(id, Wanted::from(&process))?;
        let plan = Plan::new(
            process,
            &mut self.users,
            self.many_files.then_some(SOFT_FILES),
        )?;
        let child = plan.spawn(theirs.stdio(&self.null), Some(&self.cgroup))?;
        self.children.insert(child.pid, id);
        let deadline = deadline(started, timeout_ms);
        let mut running = Running::new(Target::Group(child.pid), ends, started, deadline);
        running.announce();
        self.attach(id, running);
        if let Some(session) = self.sessions.get(id) {
            session.tell(&Event::Started {
                pid: child.inner_pid,
            });
        }
        Ok(())
    }

    /// Makes the streams of a process and registers our ends. Also says when its time starts.
    fn open_streams(
        &self,
        id: SessionId,
        wanted: Wanted,
    ) -> Result<(Instant, super::running::Ends, ProcessEnds), Failure> {
        let started = Instant::now();
        let open = || {
            let (ends, theirs) = streams::open(wanted)?;
            if let Some(stdin) = &ends.stdin {
                self.register(id, stdin, Part::Stdin, Interest::WritableEdge)?;
            }
            self.register(id, &ends.stdout, Part::Stdout, Interest::ReadableEdge)?;
            if let Some(stderr) = &ends.stderr {
                self.register(id, stderr, Part::Stderr, Interest::ReadableEdge)?;
            }
            Ok((ends, theirs))
        };
        let (ends, theirs) = open().failing(FailureKind::System, || {
            "make the streams of a process".into()
        })?;
        Ok((started, ends, theirs))
    }

    fn register(
        &self,
        id: SessionId,
        fd: &OwnedFd,
        part: Part,
        interest: Interest,
    ) -> io::Result<()> {
        self.epoll
            .add(fd, interest, Token::Session(id, part).to_bits())
    }

    fn attach(&mut self, id: SessionId, running: Running) {
        if let Some(at) = self.running(id).and_then(|previous| previous.deadline()) {
            self.schedule.remove_deadline(at, id);
        }
        if let Some(at) = running.deadline() {
            self.schedule.add_deadline(at, id);
        }
        if let Some(session) = self.sessions.get(id) {
            session.run(running);
        }
    }

    /// Raises our own limit of open files, once, when it could become short.
    pub(super) fn expect_many_files(&mut self) {
        if !self.many_files && self.sessions.len() > MANY_SESSIONS {
            // Should it fail, the descriptors that cannot be made will say so.
            self.many_files =
                system::set_limit(system::Limit::Files, HARD_FILES, HARD_FILES).is_ok();
        }
    }
}

/// What every later request is told.
fn not_set_up(failure: &Failure) -> String {
    let why = match failure.errno {
        0 => String::new(),
        errno => format!(": {}", io::Error::from_raw_os_error(errno)),
    };
    format!("the machine could not be set up: {}{why}", failure.context)
}

fn deadline(started: Instant, timeout_ms: Option<u64>) -> Option<Instant> {
    started.checked_add(Duration::from_millis(timeout_ms?))
}

/// Init systems insist on being process 1.
fn wants_to_be_first(argv: &[Vec<u8>]) -> bool {
    let Some(program) = argv.first() else {
        return false;
    };
    let name = program
        .rsplit(|&byte| byte == b'/')
        .next()
        .unwrap_or_default();
    name == b"systemd" || [&b"/init"[..], b"/sbin/init", b"/usr/sbin/init"].contains(&&program[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_systems_are_first_and_nothing_else_is() {
        for (program, first) in [
            ("/init", true),
            ("/sbin/init", true),
            ("/lib/systemd/systemd", true),
            ("systemd", true),
            ("/app/init", false),
            ("init", false),
            ("/usr/bin/systemd-run", false),
        ] {
            assert_eq!(
                wants_to_be_first(&[program.as_bytes().to_vec()]),
                first,
                "{program}"
            );
        }
        assert!(!wants_to_be_first(&[]));
    }
}
