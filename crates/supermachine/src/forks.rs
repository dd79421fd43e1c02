//! Taking over the copies that a fork made.

use crate::config::VmConfig;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::record::Record;
use crate::runtime::Runtime;
use crate::supervisor::{Client, ClientError, Facts, Plan, Source};
use crate::vm::Vm;
use crate::vmm::VmmProcess;
use ::snapshot::Digest;
use proto::supervisor::{Reply, RequestBody};
use std::fs::File;
use std::iter::Enumerate;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long all copies together may take.
const LIMIT: Duration = Duration::from_secs(300);

/// The most copies one request makes: each has descriptors and a process.
pub(crate) const MAX: u32 = 1000;

/// A copy that was made and waits to be told to go on. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) pid: i32,
    pub(crate) base: Option<Digest>,
    pub(crate) control: OwnedFd,
    pub(crate) pidfd: OwnedFd,
    /// Its writable disk: the files it lies upon, then its own.
    pub(crate) disk: Vec<File>,
}

impl Fork {
    /// From an answer of the supervisor.
    pub(crate) fn from_reply(reply: &Reply, fds: Vec<OwnedFd>) -> Option<Self> {
        let Reply::Forked { pid, base } = reply else {
            return None;
        };
        let mut fds = fds.into_iter();
        let (control, pidfd) = (fds.next()?, fds.next()?);
        let disk: Vec<_> = fds.map(File::from).collect();
        Some(Self {
            pid: *pid,
            base: base.as_ref().and_then(|text| text.parse().ok()),
            control,
            pidfd,
            disk,
        })
    }

    /// Lets the copy of the VM of `record` go on, supervised by this process.
    pub(crate) fn start(
        self,
        runtime: &Runtime,
        record: &Record,
        config: &VmConfig,
    ) -> Result<Vm, Error> {
        let image = runtime.boot_image(&record.image, &record.image_digest)?;
        let plan = Plan::copy(runtime.state(), &image, &Facts::from(record), config)?;
        let program = runtime.programs()?.vmm();
        let vmm = VmmProcess::adopt(program, (self.pid, self.control, self.pidfd));
        let source = Source::Fork(Box::new(vmm), self.disk, self.base);
        runtime.launch(image, plan, source)
    }
}

/// Asks the supervisor of a VM for copies, and starts them while it finishes with the original.
pub(crate) fn ask<T>(
    client: &Client,
    count: u32,
    start: impl FnOnce(Vec<Fork>) -> T,
) -> Result<T, Error> {
    let mut forks = Vec::new();
    let mut start = Some(start);
    let mut started = None;
    let asked = client.ask_for_each(
        RequestBody::Fork { count },
        Deadline::after(LIMIT),
        |reply, fds| {
            forks.extend(Fork::from_reply(&reply, fds));
            if forks.len() == count as usize
                && let Some(start) = start.take()
            {
                started = Some(start(std::mem::take(&mut forks)));
            }
        },
    );
    match (started, asked) {
        // The copies are there, whatever has become of their original since.
        (Some(started), _) => Ok(started),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => Err(ClientError::NoStream.into()),
    }
}

pub(crate) fn fork(
    runtime: &Runtime,
    record: &Record,
    client: &Client,
    count: u32,
) -> Result<Vec<Vm>, Error> {
    let config = of_copies(&record.config);
    let start = |fork: Fork| fork.start(runtime, record, &config);
    // Those that started end with their handles if not all did.
    ask(client, count, |forks| start_all(forks, &start))?.map_err(|(error, _)| error)
}

/// Starts copies, as many at a time as there are CPUs: each spends most of its start in processes of its own. Stops at
/// the first that cannot be started, and gives back those that were.
pub(crate) fn start_all<T: Send>(
    forks: Vec<Fork>,
    start: &(impl Fn(Fork) -> Result<T, Error> + Sync),
) -> Result<Vec<T>, (Error, Vec<T>)> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let others = cpus.min(forks.len()).saturating_sub(1);
    let line = Line {
        forks: Mutex::new(forks.into_iter().enumerate()),
        failed: Mutex::new(None),
    };
    let mut started = std::thread::scope(|scope| {
        let helper = || {
            let builder = std::thread::Builder::new().name("forks".into());
            // Without a thread the others do its share.
            builder.spawn_scoped(scope, || line.work(start)).ok()
        };
        let helpers: Vec<_> = (0..others).filter_map(|_| helper()).collect();
        let mut started = line.work(start);
        for helper in helpers {
            match helper.join() {
                Ok(more) => started.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        started
    });
    started.sort_by_key(|(number, _)| *number);
    let started = started.into_iter().map(|(_, copy)| copy).collect();
    match line
        .failed
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        None => Ok(started),
        Some(error) => Err((error, started)),
    }
}

/// Copies that wait for somebody to start them.
struct Line {
    forks: Mutex<Enumerate<std::vec::IntoIter<Fork>>>,
    failed: Mutex<Option<Error>>,
}

impl Line {
    /// Starts copies until none is left or one failed.
    fn work<T>(&self, start: &impl Fn(Fork) -> Result<T, Error>) -> Vec<(usize, T)> {
        let mut started = Vec::new();
        while let Some((number, fork)) = self.next() {
            match start(fork) {
                Ok(copy) => started.push((number, copy)),
                Err(error) => {
                    lock(&self.failed).get_or_insert(error);
                }
            }
        }
        started
    }

    fn next(&self) -> Option<(usize, Fork)> {
        let next = lock(&self.forks).next();
        next.filter(|_| lock(&self.failed).is_none())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As the VM's, under names of their own.
pub(crate) fn of_copies(config: &VmConfig) -> VmConfig {
    VmConfig {
        name: None,
        hostname: None,
        // The host has each port once.
        ports: Vec::new(),
        ..config.clone()
    }
}
