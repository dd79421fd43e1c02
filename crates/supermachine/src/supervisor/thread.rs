//! The thread that watches a VM until it has ended.

use super::attachments::Attachments;
use super::boot::{Launch, Tenure, Warnings};
use super::clients::{Clients, Connection, Waiting};
use super::copying::{Copying, Task};
use super::ending::{Ending, Farewell, Force};
use super::estate::renamed;
use super::plan::BootImage;
use super::shared::{Order, Outcome, Shared};
use super::starting::Running;
use crate::assets::Assets;
use crate::config::{OnFailure, Retention, Workload};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::forks::MAX as MAX_FORKS;
use crate::home::Home;
use crate::network::Membership;
use crate::packet;
use crate::poll;
use crate::record::{CONSOLE, Entry, State, VMM_LOG};
use crate::saved::WorkingSet;
use crate::session::{Session, SessionError};
use crate::signals::Signal;
use crate::vmm::{VmmError, VmmProcess};
use ::snapshot::Digest;
use proto::control::{Command, Event, KernelFlavor};
use proto::happening::EventKind;
use proto::session::{Exit, Request, RequestBody as AgentRequest};
use proto::supervisor::{Reply, RequestBody};
use rustix::event::PollFlags;
use rustix::net::SocketType;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Over the grace period of a stop, and over the timeout of a workload: the guest keeps both, this is for one
/// that does not.
const MARGIN: Duration = Duration::from_secs(10);

/// How long the guest may take to write its file systems back after its workload.
const POWER_OFF: Duration = Duration::from_secs(30);

/// How long the VMM gets to say why the main session broke.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Watches a VM until it has ended.
pub(super) struct Supervisor {
    pub(super) entry: Entry,
    pub(super) vmm: VmmProcess,
    pub(super) main: Arc<Session>,
    pub(super) shared: Arc<Shared>,
    pub(super) clients: Clients,
    pub(super) attachments: Attachments,
    pub(super) warnings: Warnings,
    pub(super) provenance: Provenance,
    pub(super) tenure: Tenure,
    /// Whether there was one when this life began.
    pub(super) has_network: bool,
    /// The place on a network with a name.
    pub(super) membership: Option<Membership>,
    /// Whether somebody wants the end by a signal of theirs.
    signaled_to_end: bool,
    motion: Motion,
    unlisted: Option<WorkingSet>,
    pub(super) stopping: Option<Session>,
    pub(super) copying: Option<Copying>,
    pub(super) exit: Option<Exit>,
    pub(super) broken: Option<SessionError>,
    /// When the VM is ended by force, and what that means.
    forced: Option<(Deadline, Force)>,
}

/// Whether the vCPUs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Motion {
    Running,
    Paused,
}

/// Where the VM came from. Its image stays in the store as long as this lives.
#[derive(Debug, Clone)]
pub(super) struct Provenance {
    pub(super) home: Home,
    pub(super) assets: Assets,
    pub(super) kernel: KernelFlavor,
    /// Digest of the manifest of what it was restored from.
    pub(super) base: Option<Digest>,
    pub(super) image: BootImage,
}

/// Tells everybody who waits that the VM is gone, even if this thread ends by a panic.
struct Mourner {
    shared: Arc<Shared>,
    main: Arc<Session>,
}

impl Drop for Mourner {
    fn drop(&mut self) {
        self.main.abandon();
        self.shared.update(|status| {
            status.outcome.get_or_insert(Outcome::Stopped);
            status.settled = true;
            status.gone = true;
        });
    }
}

/// Tells that this thread has nothing left to do.
struct Leaver(Arc<Shared>);

impl Drop for Leaver {
    fn drop(&mut self) {
        self.0.update(|status| status.left = true);
    }
}

impl Supervisor {
    pub(super) fn new(
        entry: Entry,
        running: Running,
        shared: Arc<Shared>,
        clients: Clients,
        launch: Launch<'_>,
    ) -> Self {
        let attachments = Attachments::new(entry.record.config.tty, launch.attachment);
        let overdue = entry
            .record
            .config
            .timeout
            .map(|timeout| (Deadline::after(timeout + MARGIN), Force::Overdue));
        Self {
            provenance: Provenance {
                home: launch.home.clone(),
                assets: launch.assets.clone(),
                kernel: running.kernel,
                base: running.base,
                image: launch.image,
            },
            tenure: launch.tenure,
            has_network: launch.plan.network.is_some(),
            membership: launch.plan.network.and_then(|wiring| wiring.membership),
            signaled_to_end: false,
            motion: Motion::Running,
            entry,
            vmm: running.vmm,
            main: running.main,
            shared,
            clients,
            attachments,
            warnings: running.warnings,
            unlisted: running.unlisted,
            stopping: None,
            copying: None,
            exit: None,
            broken: None,
            forced: overdue,
        }
    }

    pub(super) fn spawn(mut self) -> Result<(), Error> {
        self.main.lead_externally();
        self.tell(EventKind::Started);
        let name = format!("vm {}", self.entry.record.name);
        std::thread::Builder::new()
            .name(name)
            .spawn(move || self.run())
            .map(drop)
            .map_err(Error::Thread)
    }

    fn run(mut self) {
        let _leaver = Leaver(Arc::clone(&self.shared));
        let mourner = Mourner {
            shared: Arc::clone(&self.shared),
            main: Arc::clone(&self.main),
        };
        // What the main session had to say before this thread was there wakes nobody.
        self.note_main();
        let ending = loop {
            self.sleep();
            if let Some(ending) = self.step() {
                break ending;
            }
        };
        let farewell = self.finish(ending);
        drop(mourner);
        farewell.into_iter().for_each(Farewell::say);
    }

    /// Sleeps until something happens.
    fn sleep(&self) {
        let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            (self.shared.wake(), PollFlags::IN),
            (self.vmm.control(), PollFlags::IN),
            (self.vmm.pidfd(), PollFlags::IN),
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
        fds.extend(self.clients.descriptors().map(|fd| (fd, PollFlags::IN)));
        fds.extend(self.attachments.interest());
        poll::any(
            &fds,
            self.forced
                .map_or(Deadline::NEVER, |(deadline, _)| deadline),
        );
    }

    /// Looks at everything once.
    fn step(&mut self) -> Option<Ending> {
        self.attachments.exchange(&self.main);
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
        if self.serve_clients() {
            return Some(Ending::Asked);
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

    /// Tells what happens to whoever wants to know.
    pub(super) fn tell(&mut self, kind: EventKind) {
        self.clients.note(kind);
        self.shared.update(|_| {});
    }

    pub(super) fn note_main(&mut self) {
        for victim in self.main.take_memory_kills() {
            self.tell(EventKind::OutOfMemory(victim));
        }
        if self.exit.is_some() || self.broken.is_some() || self.is_idle() {
            return;
        }
        match self.main.try_wait() {
            Some(Ok(exit)) => {
                self.exit = Some(exit);
                // Before anybody hears of the exit: whoever waits for it may end the VM.
                if let Some(list) = self.unlisted.take() {
                    list.record(&mut self.vmm);
                }
                self.tell(EventKind::Exited(exit));
                self.shared.update(|status| status.exit = Some(exit));
                self.force_after(POWER_OFF, Force::Stop);
            }
            // Its workload could not be started, and somebody wants to look at why.
            Some(Err(error @ SessionError::Guest(_)))
                if self.entry.record.config.on_failure == OnFailure::Keep =>
            {
                if let SessionError::Guest(failure) = &error {
                    self.attachments.fail(failure);
                }
                self.shared.update(|status| {
                    status.failure.get_or_insert(Arc::new(error.into()));
                });
            }
            Some(Err(error)) => {
                self.broken = Some(error);
                self.force_after(LAST_WORDS, Force::Broken);
            }
            None => {}
        }
    }

    /// A VM without a workload has no main process that could end.
    pub(super) fn is_idle(&self) -> bool {
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
        while let Some((event, fds)) = self.vmm.try_event_with()? {
            match event {
                Event::DiskFailed { message, .. } => self.warn(message),
                Event::EgressRefused {
                    flow,
                    reason,
                    total,
                } => {
                    tracing::info!(%flow, %reason, total, "a VM was refused a destination");
                    self.tell(EventKind::EgressRefused {
                        flow,
                        reason,
                        total,
                    });
                }
                Event::NetworkUpdated => {
                    self.tell(EventKind::NetworkUpdated);
                    self.clients
                        .answer_first(Waiting::NetworkUpdate, &Reply::Done);
                }
                Event::Traffic(traffic) => self
                    .clients
                    .answer_first(Waiting::Traffic, &Reply::Traffic(traffic)),
                Event::MemberSought { address } => self.seek(address.into()),
                Event::NameSought { name } => self.look_up(name),
                // Nobody else may stop and resume the VM meanwhile.
                event if self.is_being_copied() => {
                    if let Some(copying) = &self.copying {
                        copying.tell(event, fds);
                    }
                }
                Event::Paused => self.note_motion(Motion::Paused),
                Event::Resumed => self.note_motion(Motion::Running),
                _ => {}
            }
        }
        Ok(())
    }

    /// The vCPUs were stopped or let go for a client.
    fn note_motion(&mut self, motion: Motion) {
        self.motion = motion;
        self.shared
            .update(|status| status.paused = motion == Motion::Paused);
        let record = &mut self.entry.record;
        record.state = match (motion, &record.state) {
            (Motion::Paused, State::Running { since_ns }) => State::Paused {
                since_ns: *since_ns,
            },
            (Motion::Running, State::Paused { since_ns }) => State::Running {
                since_ns: *since_ns,
            },
            (_, other) => other.clone(),
        };
        if let Err(error) = self.entry.save() {
            self.warn(crate::error::describe(&error));
        }
        let (waiting, kind) = match motion {
            Motion::Paused => (Waiting::Paused, EventKind::Paused),
            Motion::Running => (Waiting::Resumed, EventKind::Resumed),
        };
        self.tell(kind);
        self.clients.answer(waiting, &Reply::Done);
    }

    /// Whether somebody wants the VM to end, so that it stays ended.
    pub(super) const fn is_asked_to_end(&self) -> bool {
        self.stopping.is_some() || self.signaled_to_end
    }

    fn is_being_copied(&self) -> bool {
        self.copying.as_ref().is_some_and(Copying::is_at_work)
    }

    pub(super) fn warn(&self, message: String) {
        tracing::warn!(%message, "a VM goes on without what it asked for");
        self.warnings
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(message);
    }

    /// Whether the VM ends right now.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Kill => true,
            Order::Tell(kind) => {
                self.tell(kind);
                false
            }
            Order::Health(health) => {
                let before = self.entry.record.health.replace(*health.clone());
                if before.is_none_or(|before| before.status != health.status) {
                    self.tell(EventKind::Health(health.status));
                }
                if let Err(error) = self.entry.save() {
                    self.warn(crate::error::describe(&error));
                }
                false
            }
            Order::Stop { signal, grace } => {
                self.stop(signal, grace);
                false
            }
            // What the workload wrote is on its way to a disk that somebody wants to see again.
            Order::Close => {
                let config = &self.entry.record.config;
                let kept = config.retention == Retention::Keep || config.storage.has_volumes();
                !(self.exit.is_some() && kept)
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
        if self.motion == Motion::Paused {
            // What stands still cannot end. A VMM that does not take the order is found dead right after.
            let _ = self.vmm.send(&Command::Resume, &[]);
        }
        let signal = signal
            .unwrap_or(self.entry.record.defaults.stop_signal)
            .number();
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = Request::new(AgentRequest::Shutdown { signal, grace_ms });
        match self.connect() {
            Ok(stream) => {
                let session = Session::new(stream);
                session.lead_externally();
                let _ = session.request(&request);
                self.stopping = Some(session);
            }
            Err(_) => self.force_after(Duration::ZERO, Force::Stop),
        }
    }

    /// Does what clients ask; whether the VM ends right now.
    fn serve_clients(&mut self) -> bool {
        let requests = self.clients.take_requests();
        requests
            .into_iter()
            .fold(false, |ends, (connection, body)| {
                self.serve(connection, body) || ends
            })
    }

    fn serve(&mut self, mut connection: Connection, body: RequestBody) -> bool {
        let (waiting, ends) = match body {
            RequestBody::Meet { network, address } => {
                self.meet(&network, address.into(), connection.take_brought());
                return false;
            }
            RequestBody::Connect
            | RequestBody::Attach
            | RequestBody::Snapshot { .. }
            | RequestBody::Fork { .. }
                if self.motion == Motion::Paused =>
            {
                connection.reply(&Reply::Failed("the VM is paused: unpause it first".into()));
                return false;
            }
            RequestBody::Pause if self.motion == Motion::Paused => {
                connection.reply(&Reply::Failed("the VM is paused already".into()));
                return false;
            }
            RequestBody::Resume if self.motion == Motion::Running => {
                connection.reply(&Reply::Failed("the VM is not paused".into()));
                return false;
            }
            RequestBody::Rename { name } => {
                let reply = renamed(&mut self.entry, &name);
                if reply == Reply::Done {
                    self.introduce_again();
                    self.tell(EventKind::Renamed { name });
                }
                connection.reply(&reply);
                let (console, log) = (self.entry.dir.join(CONSOLE), self.entry.dir.join(VMM_LOG));
                self.vmm.set_logs(console, log);
                return false;
            }
            RequestBody::CountTraffic => return self.count_traffic(connection),
            RequestBody::UpdateNetwork(update) => {
                return self.update_network(connection, &update);
            }
            RequestBody::Connect => {
                match self.connect() {
                    Ok(stream) => connection.hand_over(stream.as_fd()),
                    Err(error) => connection.reply(&Reply::Failed(error.to_string())),
                }
                return false;
            }
            RequestBody::Attach => {
                self.attach(&connection);
                return false;
            }
            RequestBody::Events => {
                self.clients.subscribe(connection);
                return false;
            }
            RequestBody::Signal(signal) => {
                connection.reply(&self.signal(signal));
                return false;
            }
            RequestBody::Snapshot { name } => {
                self.copy(connection, Task::Snapshot(name));
                return false;
            }
            RequestBody::Fork { count } if !(1..=MAX_FORKS).contains(&count) => {
                let refused = format!("a VM can be forked 1 to {MAX_FORKS} times at once");
                connection.reply(&Reply::Failed(refused));
                return false;
            }
            RequestBody::Fork { count } => {
                self.copy(connection, Task::Fork(count));
                return false;
            }
            RequestBody::Pause | RequestBody::Resume if self.is_being_copied() => {
                connection.reply(&Reply::Failed("the VM is being copied".into()));
                return false;
            }
            RequestBody::Wait => (Waiting::Exit, false),
            RequestBody::Kill => (Waiting::Gone, true),
            RequestBody::Stop { signal, grace_ms } => {
                let signal = signal.and_then(|number| Signal::try_from(number).ok());
                self.stop(signal, Duration::from_millis(grace_ms));
                (Waiting::Gone, false)
            }
            // A VMM that does not take the order is found dead right after.
            RequestBody::Pause => (
                Waiting::Paused,
                self.vmm.send(&Command::Pause, &[]).is_err(),
            ),
            RequestBody::Resume => (
                Waiting::Resumed,
                self.vmm.send(&Command::Resume, &[]).is_err(),
            ),
        };
        self.clients.keep(connection, waiting);
        ends
    }

    /// Gives a client the workload's streams, as long as it keeps them.
    fn attach(&mut self, connection: &Connection) {
        if self.is_idle() {
            return connection.reply(&Reply::Failed("the VM has no workload".into()));
        }
        match packet::pair(SocketType::STREAM) {
            Ok((ours, theirs)) => {
                self.attachments.add(ours, &self.main);
                connection.hand_over(theirs.as_fd());
            }
            Err(errno) => connection.reply(&Reply::Failed(errno.to_string())),
        }
    }

    /// A stream to the agent. Never waits: this thread has other things to do.
    fn connect(&self) -> Result<OwnedFd, VmmError> {
        self.vmm
            .connector()
            .connect(Deadline::after(Duration::ZERO))
    }

    fn signal(&mut self, signal: i32) -> Reply {
        if self.is_idle() {
            return Reply::Failed("the VM has no workload".into());
        }
        self.signaled_to_end |= signal == self.entry.record.defaults.stop_signal.number();
        self.main.signal(signal);
        Reply::Done
    }
}
