//! A VM on its way up.

use super::boot::{Launch, Warnings};
use super::plan::Plan;
use crate::config::{MainOutput, OnFailure, Retention};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::log::LogWriter;
use crate::record::{CONSOLE, Entry, SCRATCH, VMM_LOG};
use crate::saved::WorkingSet;
use crate::scratch;
use crate::scratch::layers::{self, DiskFiles};
use crate::session::{Session, SessionError, TimedOut};
use crate::storage::{Volume, Volumes};
use crate::template::Template;
use crate::vm::Timings;
use crate::vmm::{SavedFiles, VmmError, VmmProcess};
use ::snapshot::Digest;
use image::root::RootImage;
use proto::control::{DiskMode, KernelFlavor};
use proto::guest::disk;
use proto::session::OutputStream;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the VMM gets to say why the agent does not answer.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A VM on its way up.
pub(super) struct Starting<'a> {
    launch: &'a Launch<'a>,
    dir: PathBuf,
    vmm: VmmProcess,
    console: File,
    log: LogWriter,
    deadline: Deadline,
    began: Instant,
    /// When it was told how to come up.
    told: Instant,
    way: Way,
    unlisted: Option<WorkingSet>,
}

/// How a VM comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Boot,
    /// The agent listens already; the digest is that of the manifest that tells the memory, if one does.
    Restore(Option<Digest>),
}

/// A VM whose workload runs and which nobody watches yet.
pub(super) struct Running {
    pub(super) vmm: VmmProcess,
    pub(super) main: Arc<Session>,
    pub(super) warnings: Warnings,
    pub(super) timings: Timings,
    pub(super) kernel: KernelFlavor,
    /// Digest of the manifest of what it was restored from.
    pub(super) base: Option<Digest>,
    /// The list of first pages that what it was restored from lacks.
    pub(super) unlisted: Option<WorkingSet>,
}

/// Whether a flush by the guest has something to protect.
pub(super) const fn disk_mode(retention: Retention) -> DiskMode {
    match retention {
        Retention::Remove => DiskMode::Volatile,
        Retention::Keep => DiskMode::Durable,
    }
}

impl<'a> Starting<'a> {
    /// Spawns the VMM.
    pub(super) fn spawn(
        launch: &'a Launch<'a>,
        entry: &Entry,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let console = entry.dir.join(CONSOLE);
        let began = Instant::now();
        let vmm = VmmProcess::spawn(&launch.assets.vmm(), console, entry.dir.join(VMM_LOG))?;
        Self::new(vmm, launch, entry, deadline, began)
    }

    /// Takes a VMM that is there already.
    pub(super) fn adopt(
        mut vmm: VmmProcess,
        launch: &'a Launch<'a>,
        entry: &Entry,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        vmm.set_logs(entry.dir.join(CONSOLE), entry.dir.join(VMM_LOG));
        Self::new(vmm, launch, entry, deadline, Instant::now())
    }

    fn new(
        mut vmm: VmmProcess,
        launch: &'a Launch<'a>,
        entry: &Entry,
        deadline: Deadline,
        began: Instant,
    ) -> Result<Self, Error> {
        let console = open_console(&entry.dir.join(CONSOLE))?;
        let log =
            LogWriter::open(&entry.dir, entry.record.config.log).map_err(|source| Error::Log {
                path: entry.dir.clone(),
                source,
            })?;
        let root = open_root(&launch.image.root)?;
        vmm.set_disk(disk::ROOT, DiskMode::ReadOnly, &root)?;
        if let Some(wiring) = &launch.plan.network {
            vmm.set_network(wiring)?;
        }
        Ok(Self {
            launch,
            dir: entry.dir.clone(),
            vmm,
            console,
            log,
            deadline,
            began,
            told: began,
            way: Way::Boot,
            unlisted: None,
        })
    }

    /// With the volumes of the configuration, in the slots for data.
    pub(super) fn with_volumes(mut self) -> Result<Self, Error> {
        let record = &self.launch.plan.record;
        let volumes = Volumes::new(self.launch.home);
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        for (slot, (volume, options)) in (disk::DATA..).zip(record.config.storage.volumes()) {
            let Volume { disk, len } = volumes.attach(volume, options.access, &name)?;
            self.vmm.set_disk(slot, DiskMode::Durable, &[(disk, len)])?;
        }
        Ok(self)
    }

    /// With the disk of its last life, or one nothing was written to.
    pub(super) fn with_own_disk(self) -> Result<Self, Error> {
        if self.launch.plan.is_another_life && self.dir.join(SCRATCH).exists() {
            let disk = layers::open(&self.dir)?;
            return self.with_scratch(&disk);
        }
        let size = self.launch.plan.record.config.disk_size;
        layers::remove(&self.dir)?;
        let disk = scratch::create(self.launch.home, &self.dir.join(SCRATCH), size)?;
        self.with_scratch(&disk)
    }

    /// With a copy of a disk that nobody writes.
    pub(super) fn with_copy_of(self, disk: &[File]) -> Result<Self, Error> {
        let files = layers::one_more(disk, &self.dir)?;
        self.with_disk(files)
    }

    /// With a disk whose files have no name here yet, the lowest first.
    pub(super) fn with_disk(self, files: Vec<File>) -> Result<Self, Error> {
        layers::remove(&self.dir)?;
        let disk = layers::adopt(files, &self.dir)?;
        self.with_scratch(&disk)
    }

    fn with_scratch(mut self, disk: &DiskFiles) -> Result<Self, Error> {
        let mode = disk_mode(self.launch.plan.record.config.retention);
        self.vmm.set_writable_disk(mode, disk)?;
        Ok(self)
    }

    /// Boots a kernel.
    pub(super) fn boot(mut self) -> Result<Self, Error> {
        let config = &self.launch.plan.record.config;
        self.told = Instant::now();
        self.vmm.boot(
            self.launch.assets,
            config.memory.shape_mib(),
            config.cpus,
            &self.console,
        )?;
        Ok(self)
    }

    /// Goes on from a template.
    pub(super) fn restore_template(mut self, template: &Template) -> Result<Self, Error> {
        if template.files.working_set.is_none() {
            self.unlisted = Some(WorkingSet::of(&template.saved.dir));
        }
        self.restore(&template.files, template.saved.digest)
    }

    /// Goes on from saved files.
    pub(super) fn restore(mut self, files: &SavedFiles, digest: Digest) -> Result<Self, Error> {
        self.told = Instant::now();
        self.vmm.restore(files, &self.console)?;
        self.way = Way::Restore(Some(digest));
        Ok(self)
    }

    /// Goes on from what the process has in its memory; what has changed in it since `base` it knows.
    pub(super) fn restore_fork(mut self, base: Option<Digest>) -> Result<Self, Error> {
        self.told = Instant::now();
        self.vmm.restore_fork(&self.console)?;
        self.way = Way::Restore(base);
        Ok(self)
    }

    /// Waits for the guest and starts the workload, or lets it go on.
    pub(super) fn run(self) -> Result<Running, Error> {
        let Self {
            launch,
            mut vmm,
            deadline,
            ..
        } = self;
        let late = Error::start_deadline;
        let kernel = vmm.wait_running(deadline)?.ok_or_else(late)?;
        let entered = Instant::now();
        let base = match self.way {
            Way::Boot => {
                vmm.wait_ready(deadline)?.ok_or_else(late)?;
                None
            }
            Way::Restore(base) => base,
        };
        let ready = Instant::now();
        let warnings = Warnings::default();
        let stream = vmm.connector().connect(deadline)?;
        let main = Session::new(stream)
            .with_tee(tee(self.log, Arc::clone(&warnings)))
            .with_wake()
            .map_err(|errno| Error::Session(SessionError::Socket(errno)))?;
        if launch.attachment.is_some() {
            main.open_tap();
        }
        first_request(&mut vmm, &main, &launch.plan, deadline)?;
        let timings = Timings {
            prepare: self.told - self.began,
            spawn: entered - self.told,
            boot: ready - entered,
            workload: ready.elapsed(),
        };
        Ok(Running {
            vmm,
            main: Arc::new(main),
            warnings,
            timings,
            kernel,
            base,
            unlisted: self.unlisted,
        })
    }
}

/// Asks the agent for what the plan says, and waits until it is done.
fn first_request(
    vmm: &mut VmmProcess,
    main: &Session,
    plan: &Plan,
    deadline: Deadline,
) -> Result<(), Error> {
    let config = &plan.record.config;
    if config.output == MainOutput::LogOnly {
        main.discard(OutputStream::Stdout);
        main.discard(OutputStream::Stderr);
    }
    main.request(&plan.request())?;
    let answered = match plan.answer() {
        None => main.wait_started(deadline).map(|started| started.map(drop)),
        Some(answer) => main.wait_answer(answer, deadline),
    };
    match answered {
        Ok(Ok(())) => Ok(()),
        // Whoever waits for the workload is told; whoever wants to look can.
        Ok(Err(SessionError::Guest(_))) if config.on_failure == OnFailure::Keep => Ok(()),
        Ok(Err(error)) => Err(explain(vmm, error)),
        Err(TimedOut) => Err(Error::start_deadline()),
    }
}

fn open_console(path: &Path) -> Result<File, VmmError> {
    let options = File::options().create(true).append(true).clone();
    options.open(path).map_err(|source| VmmError::Open {
        path: path.to_owned(),
        source,
    })
}

/// The disk at `path` and its length, if there is one.
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
