//! Everything that can be refused before a VM costs anything.

use super::machine;
use crate::config::{MainStdin, VmConfig};
use crate::error::{ConfigError, Error};
use crate::home::random_hex;
use crate::names;
use crate::record::Record;
use crate::workload::{self, Defaults, ImageDefaults, Wishes};
use image::root::RootImage;
use proto::session::{Machine, Process, Request, RequestBody, Start};
use std::sync::Arc;

/// What a start needs of an image.
#[derive(Debug, Clone)]
pub(crate) struct BootImage {
    /// As it was asked for.
    pub(crate) reference: String,
    /// Of its manifest.
    pub(crate) digest: String,
    pub(crate) defaults: ImageDefaults,
    pub(crate) root: RootImage,
    /// Keeps the image in the store.
    #[expect(dead_code, reason = "held for what it does when it is dropped")]
    pub(crate) guard: Arc<dyn std::any::Any + Send + Sync>,
}

impl std::fmt::Display for BootImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reference)
    }
}

/// A start that has been checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) record: Record,
    machine: Machine,
    process: Option<Process>,
    init: bool,
}

impl Plan {
    pub(crate) fn new(image: &BootImage, config: &VmConfig) -> Result<Self, Error> {
        if let Some(name) = &config.name {
            names::check(name)?;
        }
        if config.cpus == 0 {
            return Err(ConfigError::Cpus(config.cpus).into());
        }
        let id = random_hex(64);
        let hostname = match &config.hostname {
            Some(hostname) => machine::check_hostname(hostname)?,
            None => &id[..12],
        };
        let defaults = Defaults::new(&image.defaults, config, hostname)?;
        let argv = workload::argv(&image.defaults, config)?;
        let wishes = |argv| Wishes {
            argv,
            stdin: config.stdin == MainStdin::Stream,
            timeout: config.timeout,
            ..Wishes::default()
        };
        let process = argv
            .clone()
            .map(|argv| defaults.process(wishes(argv)))
            .transpose()?;
        let argv = argv.unwrap_or_default();
        let init = config.init && !workload::wants_pid_1(&argv);
        let machine = machine::describe(config, hostname);
        let record = Record::new(
            config,
            (&image.reference, &image.digest),
            argv,
            defaults,
            id,
        );
        Ok(Self {
            record,
            machine,
            process,
            init,
        })
    }

    /// The first request to the agent, with the clock and fresh randomness of this moment.
    pub(super) fn request(&mut self) -> Request {
        let mut machine = self.machine.clone();
        machine::stamp(&mut machine);
        Request::new(match self.process.take() {
            Some(process) => RequestBody::Start(Start {
                machine,
                process,
                init: self.init,
                stay: false,
            }),
            None => RequestBody::Prepare(machine),
        })
    }
}
