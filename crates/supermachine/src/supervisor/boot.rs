//! From a plan to a running workload: which way it comes up, and what is left when it does not.

use super::clients::Clients;
use super::estate::Estate;
use super::listener::Listener;
use super::plan::{BootImage, Plan};
use super::shared::Shared;
use super::starting::{Running, Starting};
use super::thread::Supervisor;
use crate::assets::Assets;
use crate::config::{BootMode, Retention};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::health::{Health, Monitor};
use crate::home::Home;
use crate::record::{self, Entry, Registry, State};
use crate::session::{Session, SessionError};
use crate::template::{Found, Notice, Notices, Shape, Template, Templates};
use crate::time::unix_nanos;
use crate::vm::Timings;
use crate::vmm::{SavedFiles, VmmConnector, VmmError, VmmProcess};
use ::snapshot::Digest;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// A VM whose workload runs and whose supervisor is at work.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) record: record::Record,
    pub(crate) shared: Arc<Shared>,
    pub(crate) main: Arc<Session>,
    pub(crate) connector: VmmConnector,
    pub(crate) timings: Timings,
    pub(crate) warnings: Warnings,
}

/// What went wrong without stopping the VM, for its record.
pub(crate) type Warnings = Arc<Mutex<Vec<String>>>;

/// Where a VM comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// An image, by way of a template or a kernel of its own, as the configuration says.
    Image,
    /// A snapshot: its files, those of its disk, the digest of its manifest.
    Snapshot(SavedFiles, Vec<File>, Digest),
    /// Another life of a VM that has a record already, by way of its image.
    Again(Box<Estate>),
    /// As [`Self::Again`], of a VM that nobody watched over since its last life.
    Reopened(Box<Entry>),
    /// A fork: the process of the copy, the files of its disk, and what the VM it was made of was restored from.
    Fork(Box<VmmProcess>, Vec<File>, Option<Digest>),
}

/// How long what watches over a VM stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// As long as the VM lives.
    #[default]
    Life,
    /// As long as its process lives, which can start the VM again.
    Process,
}

/// A VM to be started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) home: &'a Home,
    pub(crate) assets: &'a Assets,
    pub(crate) notices: &'a Notices,
    pub(crate) tenure: Tenure,
    pub(crate) image: BootImage,
    pub(crate) plan: Plan,
    /// Somebody who is in front of the workload from its first byte on.
    pub(crate) attachment: Option<OwnedFd>,
}

/// Starts a VM. Whatever fails, nothing of it is left but the record of a VM that was to be kept.
pub(crate) fn start(launch: Launch<'_>, source: Source) -> Result<Started, Error> {
    let limit = launch.plan.record.config.start_deadline;
    let (mut entry, clients, source) = take_entry(&launch, source)?;
    match launch.begin(&entry, source, Deadline::after(limit)) {
        Ok(running) => hand_over(running, clients, entry, launch),
        Err(error) => {
            let error = error.within(limit);
            abandon(&mut entry, &error);
            Err(error)
        }
    }
}

/// The record of the VM: a new one, or the one it has; with the clients that were there in its last life.
fn take_entry(
    launch: &Launch<'_>,
    source: Source,
) -> Result<(Entry, Option<Clients>, Source), Error> {
    let again = |mut entry: Entry| {
        entry.record = launch.plan.record.clone();
        entry.save()?;
        Ok::<_, Error>(entry)
    };
    Ok(match source {
        Source::Again(estate) => {
            let Estate { entry, clients, .. } = *estate;
            (again(entry)?, Some(clients), Source::Image)
        }
        Source::Reopened(entry) => (again(*entry)?, None, Source::Image),
        source => {
            let entry = Registry::new(launch.home).create(launch.plan.record.clone())?;
            (entry, None, source)
        }
    })
}

/// Writes the end of a start that failed.
fn abandon(entry: &mut Entry, error: &Error) {
    let written = if entry.record.config.retention == Retention::Remove {
        entry.remove()
    } else {
        entry.record.state = State::Failed {
            message: error.to_string(),
            at_ns: unix_nanos(SystemTime::now()),
        };
        entry.save()
    };
    if let Err(error) = written {
        tracing::warn!(%error, "the record of a VM that did not start is left");
    }
}

impl Launch<'_> {
    fn begin(&self, entry: &Entry, source: Source, deadline: Deadline) -> Result<Running, Error> {
        match source {
            Source::Image if self.plan.record.config.boot == BootMode::Cold => {
                self.prepare(entry, deadline)?.boot()?.run()
            }
            Source::Image | Source::Again(_) | Source::Reopened(_) => {
                self.by_template(entry, deadline)
            }
            Source::Snapshot(files, disk, digest) => {
                let starting = Starting::spawn(self, entry, deadline)?.with_copy_of(&disk)?;
                starting.restore(&files, digest)?.run()
            }
            Source::Fork(process, disk, base) => {
                let starting = Starting::adopt(*process, self, entry, deadline)?;
                starting.with_disk(disk)?.restore_fork(base)?.run()
            }
        }
    }

    /// A VMM with the image's disks. What does not depend on it is done while its process comes up.
    fn prepare(&self, entry: &Entry, deadline: Deadline) -> Result<Starting<'_>, Error> {
        Starting::spawn(self, entry, deadline)?
            .with_own_disk()?
            .with_volumes()
    }

    fn by_template(&self, entry: &Entry, deadline: Deadline) -> Result<Running, Error> {
        let starting = self.prepare(entry, deadline)?;
        let config = &self.plan.record.config;
        let shape = Shape::of(self.assets, config.memory.shape_mib(), config.cpus)?;
        let templates = Templates {
            home: self.home,
            assets: self.assets,
            notices: self.notices,
        };
        let (template, found) = match templates.obtain(&shape, deadline) {
            Ok(obtained) => obtained,
            // What keeps a template from being made or read need not keep a VM from running.
            Err(
                error @ (Error::Saved(_)
                | Error::Vmm(VmmError::NotSaved(_))
                | Error::Deadline { .. }),
            ) => {
                let reason = crate::error::describe(&error);
                self.notices.tell(&Notice::ColdBoot { reason });
                return starting.boot()?.run();
            }
            Err(error) => return Err(error),
        };
        match starting.restore_template(&template).and_then(Starting::run) {
            Err(error) if found == Found::There && template.is_to_blame(&error) => {
                tracing::warn!(%error, "a template is made again");
                self.again(&templates, &shape, &template, entry, deadline)
            }
            other => other,
        }
    }

    /// With a template that was just made, in place of one that did not do.
    fn again(
        &self,
        templates: &Templates<'_>,
        shape: &Shape,
        damaged: &Template,
        entry: &Entry,
        deadline: Deadline,
    ) -> Result<Running, Error> {
        templates.set_aside(damaged, deadline)?;
        let (template, _) = templates.obtain(shape, deadline)?;
        let starting = self.prepare(entry, deadline)?;
        starting.restore_template(&template)?.run()
    }
}

/// Opens the VM to other processes and leaves it to its supervisor's thread.
fn hand_over(
    running: Running,
    clients: Option<Clients>,
    mut entry: Entry,
    launch: Launch<'_>,
) -> Result<Started, Error> {
    entry.record.vmm_pid = running.vmm.pid();
    let opened = open_doors(clients, &mut entry).and_then(|doors| {
        introduce(&launch.plan, &entry)?;
        Ok(doors)
    });
    let (shared, clients) = match opened {
        Ok(doors) => doors,
        Err(error) => {
            abandon(&mut entry, &error);
            return Err(error);
        }
    };
    let started = Started {
        record: entry.record.clone(),
        shared: Arc::clone(&shared),
        main: Arc::clone(&running.main),
        connector: running.vmm.connector(),
        timings: running.timings,
        warnings: Arc::clone(&running.warnings),
    };
    let monitor = entry.record.check.clone().map(|check| Monitor {
        check,
        defaults: entry.record.defaults.clone(),
        connector: started.connector.clone(),
        shared: Arc::clone(&shared),
    });
    Supervisor::new(entry, running, shared, clients, launch).spawn()?;
    monitor.map_or(Ok(()), Monitor::spawn)?;
    Ok(started)
}

/// From here on other members of its network find the VM.
fn introduce(plan: &Plan, entry: &Entry) -> Result<(), Error> {
    let record = &entry.record;
    let wiring = plan.network.as_ref();
    if let Some(membership) = wiring.and_then(|wiring| wiring.membership.as_ref()) {
        membership.introduce(&record.name, &record.id, record.socket.clone())?;
    }
    Ok(())
}

fn open_doors(
    clients: Option<Clients>,
    entry: &mut Entry,
) -> Result<(Arc<Shared>, Clients), Error> {
    let failed = |errno: rustix::io::Errno| Error::ClientSocket {
        path: entry.dir.clone(),
        source: errno.into(),
    };
    let clients = match clients {
        Some(clients) => clients,
        None => {
            let listener = Listener::open(&entry.dir).map_err(failed)?;
            Clients::new(entry.record.id.clone(), listener)
        }
    };
    let shared = Shared::new(clients.journal())
        .map_err(|errno| Error::Session(SessionError::Socket(errno)))?;
    entry.record.socket = clients.address();
    let since_ns = unix_nanos(SystemTime::now());
    entry.record.started_ns = since_ns;
    entry.record.health = entry.record.check.as_ref().map(|_| Health::default());
    entry.record.state = State::Running { since_ns };
    entry.save()?;
    Ok((Arc::new(shared), clients))
}
