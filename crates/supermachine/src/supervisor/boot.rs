//! From a plan to a running workload.

use super::listener::Listener;
use super::plan::{BootImage, Plan};
use super::shared::Shared;
use super::thread::Supervisor;
use crate::assets::Assets;
use crate::config::{MainOutput, Retention, VmConfig};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::home::Home;
use crate::log::LogWriter;
use crate::record::{self, CONSOLE, Entry, Registry, SCRATCH, State, VMM_LOG};
use crate::scratch;
use crate::session::{Session, SessionError, TimedOut};
use crate::time::unix_nanos;
use crate::vm::Timings;
use crate::vmm::{VmmConnector, VmmError, VmmProcess};
use image::root::RootImage;
use proto::control::{Boot, Command, DiskMode, Event, VERSION};
use proto::guest::disk;
use proto::session::OutputStream;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

/// How long the VMM gets to say why the agent does not answer.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(2);

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

/// Starts a VM. Whatever fails, nothing of it is left but the record of a VM that was to be kept.
pub(crate) fn start(
    home: &Home,
    assets: &Assets,
    image: BootImage,
    plan: Plan,
) -> Result<Started, Error> {
    let config = plan.record.config.clone();
    let limit = config.start_deadline;
    // Before anything is made: a directory for sockets that cannot be used ends the start anyway.
    let socket = home.socket(&plan.record.id)?;
    let mut entry = Registry::new(home).create(plan.record.clone())?;
    match Starting::new(home, assets, &image, plan, &entry)
        .and_then(|starting| starting.run(&config))
    {
        Ok(running) => running.hand_over(&socket, entry, image),
        Err(error) => {
            let error = error.within(limit);
            abandon(&mut entry, &error);
            Err(error)
        }
    }
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

/// A VM on its way.
struct Starting {
    plan: Plan,
    vmm: VmmProcess,
    log: LogWriter,
    deadline: Deadline,
    began: Instant,
}

/// A VM whose workload runs and which nobody watches yet.
struct Running {
    vmm: VmmProcess,
    main: Arc<Session>,
    warnings: Warnings,
    timings: Timings,
}

impl Starting {
    /// Spawns the VMM and tells it everything; the disk is made while its process comes up.
    fn new(
        home: &Home,
        assets: &Assets,
        image: &BootImage,
        plan: Plan,
        entry: &Entry,
    ) -> Result<Self, Error> {
        let began = Instant::now();
        let config = &plan.record.config;
        let deadline = Deadline::after(config.start_deadline);
        let console_path = entry.dir.join(CONSOLE);
        let console = open_console(&console_path)?;
        let mut vmm = VmmProcess::spawn(&assets.vmm(), console_path, entry.dir.join(VMM_LOG))?;
        let log = LogWriter::open(&entry.dir).map_err(|source| Error::Log {
            path: entry.dir.clone(),
            source,
        })?;
        vmm.set_disk(disk::ROOT, DiskMode::ReadOnly, &open_root(&image.root)?)?;
        let scratch = scratch::create(home, &entry.dir.join(SCRATCH), config.disk_size)?;
        let mode = match config.retention {
            Retention::Remove => DiskMode::Volatile,
            Retention::Keep => DiskMode::Durable,
        };
        vmm.set_disk(disk::SCRATCH, mode, &[scratch])?;
        boot(&mut vmm, assets, config, &console)?;
        Ok(Self {
            plan,
            vmm,
            log,
            deadline,
            began,
        })
    }

    /// Waits for the guest and starts the workload.
    fn run(mut self, config: &VmConfig) -> Result<Running, Error> {
        let prepared = Instant::now();
        self.expect(|event| matches!(event, Event::Running { .. }))?;
        let entered = Instant::now();
        self.expect(|event| matches!(event, Event::Ready { .. }))?;
        let ready = Instant::now();
        let warnings = Warnings::default();
        let stream = self.vmm.connector().connect(self.deadline)?;
        let main = Session::new(stream)
            .with_tee(tee(self.log, Arc::clone(&warnings)))
            .with_wake()
            .map_err(|errno| Error::Session(SessionError::Socket(errno)))?;
        if config.output == MainOutput::LogOnly {
            main.discard(OutputStream::Stdout);
            main.discard(OutputStream::Stderr);
        }
        main.request(&self.plan.request())?;
        match main.wait_started(self.deadline) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(explain(&mut self.vmm, error)),
            Err(TimedOut) => return Err(Error::start_deadline()),
        }
        let timings = Timings {
            prepare: prepared - self.began,
            spawn: entered - prepared,
            boot: ready - entered,
            workload: ready.elapsed(),
        };
        Ok(Running {
            vmm: self.vmm,
            main: Arc::new(main),
            warnings,
            timings,
        })
    }

    fn expect(&mut self, wanted: impl Fn(&Event) -> bool) -> Result<(), Error> {
        loop {
            match self.vmm.next_event(self.deadline)? {
                Some(event) if wanted(&event) => return Ok(()),
                Some(_) => {}
                None => return Err(Error::start_deadline()),
            }
        }
    }
}

impl Running {
    /// Opens the VM to other processes and leaves it to its supervisor's thread.
    fn hand_over(
        self,
        socket: &Path,
        mut entry: Entry,
        image: BootImage,
    ) -> Result<Started, Error> {
        let (shared, listener) = match open_doors(socket, &mut entry) {
            Ok(doors) => doors,
            Err(error) => {
                abandon(&mut entry, &error);
                return Err(error);
            }
        };
        let started = Started {
            record: entry.record.clone(),
            shared: Arc::clone(&shared),
            main: Arc::clone(&self.main),
            connector: self.vmm.connector(),
            timings: self.timings,
            warnings: Arc::clone(&self.warnings),
        };
        let Self {
            vmm,
            main,
            warnings,
            ..
        } = self;
        Supervisor::new(entry, vmm, main, shared, listener, warnings, image).spawn()?;
        Ok(started)
    }
}

fn open_doors(name: &Path, entry: &mut Entry) -> Result<(Arc<Shared>, Listener), Error> {
    let shared = Shared::new().map_err(|errno| Error::Session(SessionError::Socket(errno)))?;
    let failed = |errno: rustix::io::Errno| Error::ClientSocket {
        path: name.to_owned(),
        source: errno.into(),
    };
    let listener = Listener::open(name).map_err(failed)?;
    entry.record.socket = listener.address();
    entry.record.state = State::Running {
        since_ns: unix_nanos(SystemTime::now()),
    };
    entry.save()?;
    Ok((Arc::new(shared), listener))
}

fn open_console(path: &Path) -> Result<File, VmmError> {
    let options = File::options().create(true).append(true).clone();
    options.open(path).map_err(|source| VmmError::Open {
        path: path.to_owned(),
        source,
    })
}

fn open_root(root: &RootImage) -> Result<Vec<(File, u64)>, VmmError> {
    let open = |path: &Path| {
        File::open(path).map_err(|source| VmmError::Open {
            path: path.to_owned(),
            source,
        })
    };
    root.pieces
        .iter()
        .map(|piece| Ok((open(&piece.path)?, piece.len)))
        .collect()
}

fn boot(
    vmm: &mut VmmProcess,
    assets: &Assets,
    config: &VmConfig,
    console: &File,
) -> Result<(), Error> {
    let open = |path: std::path::PathBuf| {
        File::open(&path).map_err(|source| VmmError::Open { path, source })
    };
    let mut files = Vec::new();
    for flavor in &assets.kernels {
        files.push(open(assets.kernel(*flavor))?);
    }
    files.push(open(assets.initramfs())?);
    let fds: Vec<_> = files.iter().chain([console]).map(AsFd::as_fd).collect();
    let boot = Boot {
        version: VERSION,
        vcpus: config.cpus,
        memory_mib: config.memory.shape_mib(),
        kernels: assets.kernels.clone(),
        extra_cmdline: String::new(),
    };
    Ok(vmm.send(&Command::Boot(boot), &fds)?)
}

/// The log sees all output as it arrives, whether somebody reads it or not.
fn tee(mut log: LogWriter, warnings: Warnings) -> crate::session::Tee {
    Box::new(move |stream, bytes| {
        if let Err(error) = log.append(stream.into(), bytes) {
            tracing::warn!(%error, "output is missing from the log of a VM");
            let warning = format!("output is missing from the log: {error}");
            warnings
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(warning);
        }
    })
}

/// A session that broke because the VM ended is reported as the end of the VM.
fn explain(vmm: &mut VmmProcess, error: SessionError) -> Error {
    if !matches!(
        error,
        SessionError::Cut | SessionError::Unreachable | SessionError::Socket(_)
    ) {
        return error.into();
    }
    let deadline = Deadline::after(LAST_WORDS);
    loop {
        match vmm.next_event(deadline) {
            Ok(Some(_)) => {}
            Ok(None) => return error.into(),
            Err(end) => return end.into(),
        }
    }
}
