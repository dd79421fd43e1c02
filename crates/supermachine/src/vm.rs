//! A running VM.

use crate::attachment::Attachment;
use crate::config::Workload;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::events::Events;
use crate::exec::{ExecBuilder, Output};
use crate::files::Files;
use crate::forks;
use crate::log::LogReader;
use crate::network::{self, NetworkUpdate, Traffic};
use crate::reach::Reach;
use crate::ready::{self, Ready};
use crate::record::{Record, Registry, VmSummary};
use crate::runtime::Runtime;
use crate::session::{OutputReader, Session, StdinWriter, TimedOut};
use crate::signals::Signal;
use crate::snapshots::{self, Snapshot};
use crate::supervisor::{
    Client, ClientError, Estate, Order, Outcome, Shared, Started, Status, Warnings,
};
use crate::workload::Defaults;
use crate::{MainOutput, MainStdin, Retention};
use proto::session::{Exit, OutputStream};
use proto::supervisor::{Reply, RequestBody};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

/// How long the supervisor of another process gets to answer what it answers at once.
const ANSWER: Duration = Duration::from_secs(30);

/// How long a copy of a VM may take, a slow disk included.
const COPY: Duration = Duration::from_secs(900);

/// What a stop may take over its grace period before we stop waiting: the supervisor ends it by force earlier.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// A running VM. One that was started here is killed when its handle is dropped; one that was found with
/// [`crate::Runtime::open_vm`] is left alone.
#[derive(Debug)]
pub struct Vm {
    runtime: Runtime,
    record: Record,
    reach: Reach,
    own: Option<Own>,
}

/// What only the VM's own process has.
#[derive(Debug)]
struct Own {
    shared: Arc<Shared>,
    main: Arc<Session>,
    timings: Timings,
    warnings: Warnings,
    stdin: Option<StdinWriter>,
    stdout: Option<OutputReader>,
    stderr: Option<OutputReader>,
}

/// How long each step of a start took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Record, process, disks, and finding the template (or making it, the first time).
    pub prepare: Duration,
    /// From there until the vCPUs entered the guest: the restore, where there is one, and what the VMM's process needed
    /// to come up.
    pub spawn: Duration,
    /// From there until the guest's agent listened: nothing after a restore.
    pub boot: Duration,
    /// From there until the workload ran.
    pub workload: Duration,
}

impl Vm {
    pub(crate) fn started(runtime: Runtime, started: Started) -> Self {
        let Started {
            record,
            shared,
            main,
            connector,
            timings,
            warnings,
        } = started;
        let output = |stream| OutputReader::new(Arc::clone(&main), stream);
        let streams = record.config.output == MainOutput::Stream;
        let own = Own {
            stdin: (record.config.stdin == MainStdin::Stream)
                .then(|| StdinWriter::new(Arc::clone(&main))),
            stdout: streams.then(|| output(OutputStream::Stdout)),
            stderr: streams.then(|| output(OutputStream::Stderr)),
            shared: Arc::clone(&shared),
            main,
            timings,
            warnings,
        };
        Self {
            runtime,
            record,
            reach: Reach::Local { connector, shared },
            own: Some(own),
        }
    }

    pub(crate) fn remote(runtime: Runtime, record: Record) -> Self {
        let client = Client::new(record.socket.clone(), record.id.clone());
        Self {
            runtime,
            record,
            reach: Reach::Remote(client),
            own: None,
        }
    }

    pub(crate) const fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(crate) const fn defaults(&self) -> &Defaults {
        &self.record.defaults
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The id: 64 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// What the record says.
    pub fn summary(&self) -> Result<VmSummary, Error> {
        Ok(Registry::new(self.runtime.state()).summary(self.id())?)
    }

    /// Why the workload of this VM could not be started, with [`crate::OnFailure::Keep`].
    pub fn start_failure(&self) -> Option<Error> {
        let own = self.own.as_ref()?;
        let found = own.shared.wait(Deadline::after(Duration::ZERO), |status| {
            status.failure.clone()
        });
        found.ok().map(Error::Shared)
    }

    /// How long each step of the start took; `None` for a VM of another process.
    pub fn timings(&self) -> Option<Timings> {
        self.own.as_ref().map(|own| own.timings)
    }

    /// What went wrong so far without stopping the VM: output missing from the log, a host file behind a disk
    /// that failed (the host's disk is full).
    pub fn warnings(&self) -> Result<Vec<String>, Error> {
        match &self.own {
            Some(own) => Ok(own
                .warnings
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone()),
            None => Ok(self.summary()?.warnings),
        }
    }

    /// Runs a program to its end and collects its output.
    pub fn exec<S: AsRef<OsStr>>(
        &self,
        argv: impl IntoIterator<Item = S>,
    ) -> Result<Output, Error> {
        self.exec_builder().argv(argv).output()
    }

    /// A program with an environment, user, directory, streams or limits of its own.
    pub fn exec_builder(&self) -> ExecBuilder<'_> {
        ExecBuilder::new(self)
    }

    /// Files of the VM.
    pub const fn files(&self) -> Files<'_> {
        Files::new(self)
    }

    /// Standard input of the main process, once, with [`crate::MainStdin::Stream`].
    pub fn take_stdin(&mut self) -> Option<StdinWriter> {
        self.own.as_mut()?.stdin.take()
    }

    /// Standard output of the main process, once, with [`crate::MainOutput::Stream`].
    pub fn take_stdout(&mut self) -> Option<OutputReader> {
        self.own.as_mut()?.stdout.take()
    }

    /// Standard error of the main process, once, with [`crate::MainOutput::Stream`].
    pub fn take_stderr(&mut self) -> Option<OutputReader> {
        self.own.as_mut()?.stderr.take()
    }

    pub(crate) fn has_workload(&self) -> Result<(), Error> {
        if self.record.config.workload == Workload::None {
            Err(Error::NoWorkload)
        } else {
            Ok(())
        }
    }

    /// Waits for the end of the workload. The guest's file systems may still be on their way to the disk:
    /// [`Self::close`] waits for them, and so does a drop of the handle if the VM's disk is kept.
    pub fn wait(&self) -> Result<Exit, Error> {
        self.wait_deadline(Deadline::NEVER)
    }

    /// As [`Self::wait`], until a deadline; the VM goes on when it passes.
    pub fn wait_deadline(&self, deadline: impl Into<Deadline>) -> Result<Exit, Error> {
        self.has_workload()?;
        let deadline = deadline.into();
        let limit = deadline.remaining().unwrap_or_default();
        let Some(own) = &self.own else {
            return crate::runtime::wait_remote(self.runtime.state(), self.id(), deadline);
        };
        let ended = own
            .shared
            .wait(deadline, |status| match (status.exit, &status.failure) {
                (Some(exit), _) => Some(Outcome::Exited(exit)),
                (None, Some(error)) => Some(Outcome::Failed(Arc::clone(error))),
                (None, None) => status.outcome.clone(),
            });
        match ended {
            Ok(Outcome::Exited(exit)) => Ok(exit),
            Ok(Outcome::Stopped) => Err(Error::Stopped),
            Ok(Outcome::Failed(error)) => Err(Error::Shared(error)),
            Err(TimedOut) => Err(Error::Deadline {
                waiting_for: "the workload",
                limit,
            }),
        }
    }

    /// What happens to the VM, from its start on.
    pub fn events(&self) -> Result<Events, Error> {
        match &self.reach {
            Reach::Local { shared, .. } => Ok(Events::local(Arc::clone(shared))),
            Reach::Remote(client) => Ok(Events::remote(client.subscribe()?)),
        }
    }

    /// Waits until the workload is ready, for `limit` at most. One that ends first, or takes longer, is an error with
    /// the last lines it wrote.
    pub fn wait_ready(&self, ready: &Ready, limit: Duration) -> Result<(), Error> {
        ready::wait(self, ready, limit)
    }

    /// Connects to the streams of the workload, beside whoever is connected already: its output from now on.
    pub fn attach(&self) -> Result<Attachment, Error> {
        self.has_workload()?;
        let asked = self
            .supervisor()
            .ask(RequestBody::Attach, Deadline::after(ANSWER))?;
        match asked {
            (Reply::Done, Some(stream)) => Attachment::new(stream, &self.record.config),
            _ => Err(ClientError::NoStream.into()),
        }
    }

    /// Whether the workload has a terminal.
    pub const fn has_terminal(&self) -> bool {
        self.record.config.tty.is_some()
    }

    /// Sends a signal to the workload.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.has_workload()?;
        match (&self.own, &self.reach) {
            (Some(own), _) => own.main.signal(signal.number()),
            (None, Reach::Remote(client)) => {
                client.ask(
                    RequestBody::Signal(signal.number()),
                    Deadline::after(ANSWER),
                )?;
            }
            (None, Reach::Local { .. }) => {}
        }
        Ok(())
    }

    /// Sends the stop signal, kills after the grace period of the configuration, and returns when the VM is
    /// gone. A VM that is gone already is no error.
    pub fn stop(&self) -> Result<(), Error> {
        self.stop_with(None, None)
    }

    /// As [`Self::stop`], with another signal or grace period.
    pub fn stop_with(&self, signal: Option<Signal>, grace: Option<Duration>) -> Result<(), Error> {
        let grace = grace.unwrap_or(self.record.config.stop_grace);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = RequestBody::Stop {
            signal: signal.map(Signal::number),
            grace_ms,
        };
        self.end(
            Order::Stop { signal, grace },
            request,
            grace.saturating_add(STOP_MARGIN),
        )
    }

    /// Stops the vCPUs: nothing in the VM moves until [`Self::resume`]. A stop ends it all the same.
    pub fn pause(&self) -> Result<(), Error> {
        self.supervisor()
            .ask(RequestBody::Pause, Deadline::after(ANSWER))?;
        Ok(())
    }

    /// Lets a paused VM go on.
    pub fn resume(&self) -> Result<(), Error> {
        self.supervisor()
            .ask(RequestBody::Resume, Deadline::after(ANSWER))?;
        Ok(())
    }

    /// What has passed the VM's network card in this life.
    pub fn traffic(&self) -> Result<Traffic, Error> {
        let asked = self
            .supervisor()
            .ask(RequestBody::CountTraffic, Deadline::after(ANSWER))?;
        match asked {
            (Reply::Traffic(traffic), _) => Ok(network::counted(traffic)),
            _ => Ok(Traffic::default()),
        }
    }

    /// Changes what the VM may reach, and how fast. When this returns the new rules hold, connections that they refuse are reset, and
    /// every later copy and life of the VM has them.
    pub fn update_network(&self, update: &NetworkUpdate) -> Result<(), Error> {
        update.check_live(&self.record.config)?;
        self.supervisor().ask(
            RequestBody::UpdateNetwork(update.to_request()),
            Deadline::after(ANSWER),
        )?;
        Ok(())
    }

    /// What the VM left for another life, when it is gone.
    pub(crate) fn inherit(&self) -> Option<Box<Estate>> {
        self.own.as_ref()?.shared.inherit()
    }

    /// Ends the VM at once and returns when it is gone. What was not synced inside is lost.
    pub fn kill(&self) -> Result<(), Error> {
        self.end(Order::Kill, RequestBody::Kill, STOP_MARGIN)
    }

    fn end(&self, order: Order, request: RequestBody, limit: Duration) -> Result<(), Error> {
        let deadline = Deadline::after(limit);
        let late = Error::Deadline {
            waiting_for: "the end of the VM",
            limit,
        };
        match (&self.own, &self.reach) {
            (Some(own), _) => {
                own.shared.order(order);
                own.shared
                    .wait(deadline, |status| status.gone.then_some(()))
                    .map_err(|TimedOut| late)
            }
            (None, Reach::Remote(client)) => match client.ask(request, deadline) {
                Ok(_) | Err(ClientError::NotRunning) => Ok(()),
                Err(ClientError::TimedOut) => Err(late),
                Err(error) => Err(error.into()),
            },
            (None, Reach::Local { .. }) => Ok(()),
        }
    }

    /// Lets a workload that has ended reach the disk, kills one that still runs, and reports what a drop of
    /// the handle would swallow. Leaves a VM of another process alone.
    pub fn close(self) -> Result<(), Error> {
        let Some(own) = &self.own else { return Ok(()) };
        own.shared.order(Order::Close);
        let ended = own.shared.wait(Deadline::after(STOP_MARGIN * 2), |status| {
            status.outcome.clone().filter(|_| self.is_done(status))
        });
        match ended {
            Ok(Outcome::Failed(error)) => Err(Error::Shared(error)),
            Ok(Outcome::Exited(_) | Outcome::Stopped) => Ok(()),
            Err(TimedOut) => Err(Error::Deadline {
                waiting_for: "the end of the VM",
                limit: STOP_MARGIN * 2,
            }),
        }
    }

    /// Whether nobody has to wait any more. A record that was removed bothers nobody while the process around the VM,
    /// which has its end already, is torn down: 10-30 ms. One that is kept can be removed right after this.
    fn is_done(&self, status: &Status) -> bool {
        // A volume is free for the next VM when the last descriptor of this one is closed.
        let has_volumes = self.record.config.storage.has_volumes();
        match self.record.config.retention {
            Retention::Keep => status.gone,
            Retention::Remove if has_volumes => status.gone,
            Retention::Remove => status.settled,
        }
    }

    /// Waits until the VM of this process has ended and everybody who is attached has read all of its output, however
    /// long that takes.
    pub fn wait_gone(&self) {
        if let Some(own) = &self.own {
            let _ = own
                .shared
                .wait(Deadline::NEVER, |status| status.left.then_some(()));
        }
    }

    /// Writes the VM down as a snapshot of this name; it goes on. Its workload is frozen and its vCPUs stand still
    /// while memory is written.
    pub fn snapshot(&self, name: &str) -> Result<Snapshot, Error> {
        snapshots::check_name(name)?;
        let request = RequestBody::Snapshot { name: name.into() };
        match self.supervisor().ask(request, Deadline::after(COPY)) {
            Ok(_) => Snapshot::open(&self.runtime, name),
            Err(ClientError::TimedOut) => Err(Error::Deadline {
                waiting_for: "the snapshot",
                limit: COPY,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes copies of the VM, which go on where it is, each under a name and identity of its own and supervised by
    /// this process. They share its memory until they write. All are made in one pause.
    pub fn fork(&self, count: u32) -> Result<Vec<Self>, Error> {
        forks::fork(
            &self.runtime,
            &self.record_now()?,
            &self.supervisor(),
            count,
        )
    }

    /// The record as it is by now: what the VM may reach can have changed since this handle was made.
    pub(crate) fn record_now(&self) -> Result<Record, Error> {
        let registry = Registry::new(self.runtime.state());
        match registry.find(self.name()) {
            Ok((record, _)) if record.id == self.record.id => Ok(record),
            // It was renamed.
            _ => Ok(registry.find(self.id())?.0),
        }
    }

    pub(crate) const fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The way to the VM's supervisor, in this process or another one.
    pub(crate) fn supervisor(&self) -> Client {
        Client::new(self.record.socket.clone(), self.record.id.clone())
    }

    /// The log of the main process.
    pub fn logs(&self) -> Result<LogReader, Error> {
        crate::runtime::open_log(self.runtime.state(), self.id())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        own.shared.order(Order::Close);
        let _ = own.shared.wait(Deadline::after(STOP_MARGIN * 2), |status| {
            self.is_done(status).then_some(())
        });
    }
}
