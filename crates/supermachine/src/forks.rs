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
use std::os::fd::OwnedFd;
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
    pub(crate) disk: File,
}

impl Fork {
    /// From an answer of the supervisor.
    pub(crate) fn from_reply(reply: &Reply, fds: Vec<OwnedFd>) -> Option<Self> {
        let Reply::Forked { pid, base } = reply else {
            return None;
        };
        let [control, pidfd, disk] = <[OwnedFd; 3]>::try_from(fds).ok()?;
        Some(Self {
            pid: *pid,
            base: base.as_ref().and_then(|text| text.parse().ok()),
            control,
            pidfd,
            disk: disk.into(),
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
        let plan = Plan::copy(&image, &Facts::from(record), config)?;
        let program = runtime.programs()?.vmm();
        let vmm = VmmProcess::adopt(program, (self.pid, self.control, self.pidfd));
        let source = Source::Fork(Box::new(vmm), self.disk, self.base);
        runtime.launch(image, plan, source)
    }
}

/// Asks the supervisor of a VM for copies.
pub(crate) fn ask(client: &Client, count: u32) -> Result<Vec<Fork>, Error> {
    let mut forks = Vec::new();
    client.ask_for_each(
        RequestBody::Fork { count },
        Deadline::after(LIMIT),
        |reply, fds| {
            forks.extend(Fork::from_reply(&reply, fds));
        },
    )?;
    if forks.len() == count as usize {
        Ok(forks)
    } else {
        Err(ClientError::NoStream.into())
    }
}

pub(crate) fn fork(
    runtime: &Runtime,
    record: &Record,
    client: &Client,
    count: u32,
) -> Result<Vec<Vm>, Error> {
    let config = of_copies(&record.config);
    ask(client, count)?
        .into_iter()
        .map(|fork| fork.start(runtime, record, &config))
        .collect()
}

/// As the VM's, under names of their own.
pub(crate) fn of_copies(config: &VmConfig) -> VmConfig {
    VmConfig {
        name: None,
        hostname: None,
        ..config.clone()
    }
}
