//! The thread that watches a VM until it has ended.

use super::boot::Warnings;
use super::listener::Listener;
use super::plan::BootImage;
use super::shared::{Order, Outcome, Shared};
use super::wait;
use crate::config::{Retention, Workload};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::packet::{self, PacketError};
use crate::record::{Entry, State};
use crate::session::{Session, SessionError};
use crate::signals::Signal;
use crate::time::unix_nanos;
use crate::vmm::{VmmError, VmmProcess};
use proto::control::{Command, Event};
use proto::session::{Exit, ExitStatus, Request, RequestBody as AgentRequest};
use proto::supervisor::{self, Reply, RequestBody};
use rustix::event::PollFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Over the grace period of a stop, and over the timeout of a workload: the guest keeps both, this is for one
/// that does not.
const MARGIN: Duration = Duration::from_secs(10);

/// How long the guest may take to write its file systems back after its workload.
const POWER_OFF: Duration = Duration::from_secs(30);

/// How long the VMM gets to say why the main session broke.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Its request.
    Request,
    /// The end of the VM, to be told how the workload ended.
    Exit,
    /// The end of the VM.
    Gone,
    /// The vCPUs to stop.
    Paused,
    /// The vCPUs to go on.
    Resumed,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    waiting: Waiting,
}

/// Why a VM comes to its end.
#[derive(Debug)]
enum Ending {
    /// Somebody asked for it.
    Asked,
    /// The VMM said why.
    Vmm(VmmError),
    /// The main session broke and the VMM did not say why.
    Session(SessionError),
    /// The workload outlived its timeout and the guest did nothing about it.
    Overdue,
}

/// Watches a VM until it has ended.
pub(super) struct Supervisor {
    entry: Entry,
    vmm: VmmProcess,
    main: Arc<Session>,
    shared: Arc<Shared>,
    listener: Listener,
    warnings: Warnings,
    /// The image stays in the store as long as this lives.
    _image: BootImage,
    connections: Vec<Connection>,
    stopping: Option<Session>,
    exit: Option<Exit>,
    broken: Option<SessionError>,
    /// When the VM is ended by force, and what that means.
    forced: Option<(Deadline, Force)>,
}

/// What it means that a VM is ended by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Force {
    /// A stop took too long, or the guest does not power off after its workload.
    Stop,
    /// The main session broke and the VMM says nothing.
    Broken,
    /// The workload outlived its timeout.
    Overdue,
}

impl Supervisor {
    pub(super) fn new(
        entry: Entry,
        vmm: VmmProcess,
        main: Arc<Session>,
        shared: Arc<Shared>,
        listener: Listener,
        warnings: Warnings,
        image: BootImage,
    ) -> Self {
        let overdue = entry
            .record
            .config
            .timeout
            .map(|timeout| (Deadline::after(timeout + MARGIN), Force::Overdue));
        Self {
            entry,
            vmm,
            main,
            shared,
            listener,
            warnings,
            _image: image,
            connections: Vec::new(),
            stopping: None,
            exit: None,
            broken: None,
            forced: overdue,
        }
    }

    pub(super) fn spawn(self) -> Result<(), Error> {
        self.main.lead_externally();
        let name = format!("vm {}", self.entry.record.name);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || self.run())
            .map(drop)
            .map_err(Error::Thread)
    }

    fn run(mut self) {
        let ending = loop {
            self.sleep();
            if let Some(ending) = self.step() {
                break ending;
            }
        };
        self.finish(ending);
    }

    /// Sleeps until something happens.
    fn sleep(&self) {
        let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            (self.shared.wake(), PollFlags::IN),
            (self.vmm.control(), PollFlags::IN),
            (self.vmm.pidfd(), PollFlags::IN),
            (self.listener.as_fd(), PollFlags::IN),
        ];
        for session in [Some(&*self.main), self.stopping.as_ref()]
            .into_iter()
            .flatten()
        {
            let (socket, flags, wake) = session.interest();
            // A closed socket without interest would still wake us, for ever.
            if !flags.is_empty() {
                fds.push((socket, flags));
            }
            fds.extend(wake.map(|wake| (wake, PollFlags::IN)));
        }
        fds.extend(
            self.connections
                .iter()
                .map(|connection| (connection.socket.as_fd(), PollFlags::IN)),
        );
        wait::any(
            &fds,
            self.forced
                .map_or(Deadline::NEVER, |(deadline, _)| deadline),
        );
    }

    /// Looks at everything once.
    fn step(&mut self) -> Option<Ending> {
        self.main.pump();
        self.note_main();
        if let Some(stopping) = &self.stopping {
            stopping.pump();
            if matches!(
                stopping.try_wait(),
                Some(Err(SessionError::Guest(_) | SessionError::Protocol(_)))
            ) {
                return Some(Ending::Asked);
            }
        }
        for order in self.shared.take_orders() {
            if self.obey(order) {
                return Some(Ending::Asked);
            }
        }
        if let Some(ending) = self.serve_clients() {
            return Some(ending);
        }
        match self.note_vmm() {
            Err(end) => return Some(Ending::Vmm(end)),
            // Its last words were already there when it ended.
            Ok(()) if self.vmm.has_ended() => {
                let end = self
                    .note_vmm()
                    .err()
                    .unwrap_or_else(|| self.vmm.post_mortem());
                return Some(Ending::Vmm(end));
            }
            Ok(()) => {}
        }
        self.check_force()
    }

    fn note_main(&mut self) {
        if self.exit.is_some() || self.broken.is_some() || self.is_idle() {
            return;
        }
        match self.main.try_wait() {
            Some(Ok(exit)) => {
                self.exit = Some(exit);
                self.shared.update(|status| status.exit = Some(exit));
                self.force_after(POWER_OFF, Force::Stop);
            }
            Some(Err(error)) => {
                self.broken = Some(error);
                self.force_after(LAST_WORDS, Force::Broken);
            }
            None => {}
        }
    }

    /// A VM without a workload has no main process that could end.
    fn is_idle(&self) -> bool {
        self.entry.record.config.workload == Workload::None
    }

    fn force_after(&mut self, delay: Duration, meaning: Force) {
        self.forced = Some((Deadline::after(delay), meaning));
    }

    fn check_force(&mut self) -> Option<Ending> {
        let (deadline, force) = self.forced?;
        if !deadline.has_passed() {
            return None;
        }
        Some(match (force, self.broken.take()) {
            (Force::Broken, Some(error)) => Ending::Session(error),
            (Force::Overdue, _) => Ending::Overdue,
            _ => Ending::Asked,
        })
    }

    /// Everything the VMM has said.
    fn note_vmm(&mut self) -> Result<(), VmmError> {
        while let Some(event) = self.vmm.try_event()? {
            match event {
                Event::Paused => self.answer(Waiting::Paused, &Reply::Done),
                Event::Resumed => self.answer(Waiting::Resumed, &Reply::Done),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the VM ends right now.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Kill => true,
            Order::Stop { signal, grace } => {
                self.stop(signal, grace);
                false
            }
            // What the workload wrote is on its way to a disk that somebody wants to see again.
            Order::Close => {
                !(self.exit.is_some() && self.entry.record.config.retention == Retention::Keep)
            }
        }
    }

    fn stop(&mut self, signal: Option<Signal>, grace: Duration) {
        let by_force = Deadline::after(grace.saturating_add(MARGIN));
        let sooner = self
            .forced
            .map_or(by_force, |(deadline, _)| deadline.min(by_force));
        self.forced = Some((sooner, Force::Stop));
        if self.stopping.is_some() || self.exit.is_some() {
            return;
        }
        let signal = signal
            .unwrap_or(self.entry.record.defaults.stop_signal)
            .number();
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = Request::new(AgentRequest::Shutdown { signal, grace_ms });
        match self.vmm.connector().connect() {
            Ok(stream) => {
                let session = Session::new(stream);
                session.lead_externally();
                let _ = session.request(&request);
                self.stopping = Some(session);
            }
            Err(_) => self.force_after(Duration::ZERO, Force::Stop),
        }
    }

    fn serve_clients(&mut self) -> Option<Ending> {
        while let Some(socket) = self.listener.accept() {
            self.connections.push(Connection {
                socket,
                waiting: Waiting::Request,
            });
        }
        let mut ending = None;
        for mut connection in std::mem::take(&mut self.connections) {
            let (stays, ends) = self.serve(&mut connection);
            if stays {
                self.connections.push(connection);
            }
            ending = ending.or(ends.then_some(Ending::Asked));
        }
        ending
    }

    /// Whether the connection stays, and whether the VM ends.
    fn serve(&mut self, connection: &mut Connection) -> (bool, bool) {
        let request = match packet::try_receive::<supervisor::Request>(&connection.socket) {
            Ok(None) => return (true, false),
            Ok(Some((request, _))) if connection.waiting == Waiting::Request => request,
            Ok(Some(_)) | Err(PacketError::Closed) => return (false, false),
            Err(error) => {
                reply(connection, &Reply::Failed(error.to_string()));
                return (false, false);
            }
        };
        if request.version != supervisor::VERSION {
            reply(
                connection,
                &Reply::Failed("this VM was started by another release".into()),
            );
            return (false, false);
        }
        match request.body {
            RequestBody::Connect => self.connect(connection),
            RequestBody::Signal(signal) => self.signal(connection, signal),
            body => return self.enqueue(connection, body),
        }
        (false, false)
    }

    fn connect(&self, connection: &Connection) {
        match self.vmm.connector().connect() {
            Ok(stream) => {
                let _ = packet::try_send(&connection.socket, &Reply::Done, &[stream.as_fd()]);
            }
            Err(error) => reply(connection, &Reply::Failed(error.to_string())),
        }
    }

    fn signal(&self, connection: &Connection, signal: i32) {
        if self.is_idle() {
            reply(connection, &Reply::Failed("the VM has no workload".into()));
            return;
        }
        self.main.signal(signal);
        reply(connection, &Reply::Done);
    }

    /// A request whose answer comes later.
    fn enqueue(&mut self, connection: &mut Connection, body: RequestBody) -> (bool, bool) {
        let (waiting, ends) = match body {
            RequestBody::Wait => (Waiting::Exit, false),
            RequestBody::Kill => (Waiting::Gone, true),
            RequestBody::Stop { signal, grace_ms } => {
                self.stop(
                    signal.and_then(|number| Signal::try_from(number).ok()),
                    Duration::from_millis(grace_ms),
                );
                (Waiting::Gone, false)
            }
            RequestBody::Pause => (
                Waiting::Paused,
                self.vmm.send(&Command::Pause, &[]).is_err(),
            ),
            RequestBody::Resume => (
                Waiting::Resumed,
                self.vmm.send(&Command::Resume, &[]).is_err(),
            ),
            RequestBody::Connect | RequestBody::Signal(_) => return (false, false),
        };
        connection.waiting = waiting;
        (true, ends)
    }

    fn answer(&mut self, waiting: Waiting, with: &Reply) {
        self.connections.retain(|connection| {
            if connection.waiting == waiting {
                reply(connection, with);
            }
            connection.waiting != waiting
        });
    }

    /// The VM is over, or has to be.
    fn finish(mut self, ending: Ending) {
        if matches!(ending, Ending::Vmm(_)) {
            self.drain_main();
        }
        self.vmm.kill();
        let outcome = self.outcome(ending);
        self.main.abandon();
        self.settle(&outcome);
        self.shared.update(|status| {
            status.outcome = Some(outcome.clone());
            status.settled = true;
        });
        let Self {
            entry,
            mut vmm,
            shared,
            connections,
            ..
        } = self;
        vmm.reap();
        drop(vmm);
        // From here on others may remove the record.
        drop(entry);
        for connection in &connections {
            reply(connection, &last_reply(connection.waiting, &outcome));
        }
        shared.update(|status| status.gone = true);
    }

    /// Takes what the guest sent before its end; the VMM closes the stream when it goes.
    fn drain_main(&mut self) {
        let deadline = Deadline::after(LAST_WORDS);
        while !deadline.has_passed() && !self.is_idle() {
            self.main.pump();
            self.note_main();
            if self.exit.is_some() || self.broken.is_some() {
                return;
            }
            let (socket, flags, _) = self.main.interest();
            wait::any(&[(socket, flags)], deadline);
        }
    }

    fn outcome(&self, ending: Ending) -> Outcome {
        if let Some(exit) = self.exit {
            return Outcome::Exited(exit);
        }
        match ending {
            Ending::Asked => Outcome::Stopped,
            Ending::Vmm(VmmError::PoweredOff { .. })
                if self.stopping.is_some() || self.is_idle() =>
            {
                Outcome::Stopped
            }
            Ending::Vmm(error) => Outcome::Failed(Arc::new(error.into())),
            Ending::Session(error) => Outcome::Failed(Arc::new(error.into())),
            Ending::Overdue => Outcome::Exited(Exit {
                status: ExitStatus::Signal(Signal::KILL.number()),
                duration_us: self
                    .entry
                    .record
                    .config
                    .timeout
                    .map_or(0, |timeout| timeout.as_micros() as u64),
                max_rss_kib: 0,
                timed_out: true,
                out_of_memory: false,
            }),
        }
    }

    /// Brings the record to its last state.
    fn settle(&mut self, outcome: &Outcome) {
        let written = if self.entry.record.config.retention == Retention::Remove {
            self.entry.remove()
        } else {
            let at_ns = unix_nanos(SystemTime::now());
            let warnings = self
                .warnings
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            self.entry.record.warnings.clone_from(&warnings);
            self.entry.record.state = match outcome {
                Outcome::Exited(exit) => State::Exited { exit: *exit, at_ns },
                Outcome::Stopped => State::Stopped { at_ns },
                Outcome::Failed(error) => State::Failed {
                    message: error.to_string(),
                    at_ns,
                },
            };
            self.entry.save()
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the record of a VM does not show its end");
        }
    }
}

fn last_reply(waiting: Waiting, outcome: &Outcome) -> Reply {
    match (waiting, outcome) {
        (Waiting::Gone, _) => Reply::Done,
        (Waiting::Exit, Outcome::Exited(exit)) => Reply::Exited(*exit),
        (_, Outcome::Failed(error)) => Reply::Failed(error.to_string()),
        _ => Reply::Failed("the VM was stopped".into()),
    }
}

/// A client that does not listen misses its answer.
fn reply(connection: &Connection, reply: &Reply) {
    let _ = packet::try_send(&connection.socket, reply, &[]);
}
