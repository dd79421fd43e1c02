//! Everything that can be refused before a VM costs anything.

use super::machine;
use crate::bytes::ByteString;
use crate::config::{MainOutput, MainStdin, RestartPolicy, VmConfig, Workload};
use crate::error::{ConfigError, Error};
use crate::health::Check;
use crate::home::{Home, random_hex};
use crate::names;
use crate::network::Wiring;
use crate::record::Record;
use crate::session::Answer;
use crate::storage;
use crate::workload::{self, Defaults, ImageDefaults, Wishes};
use image::root::RootImage;
use proto::session::{Identity, Machine, Process, Request, RequestBody, Start};
use serde::{Deserialize, Serialize};
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

/// What a copy of a VM has to know of the one it is a copy of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) config: VmConfig,
    pub(crate) argv: Vec<ByteString>,
    pub(crate) defaults: Defaults,
}

impl From<&Record> for Facts {
    fn from(record: &Record) -> Self {
        Self {
            config: record.config.clone(),
            argv: record.argv.clone(),
            defaults: record.defaults.clone(),
        }
    }
}

/// The first thing the agent is asked.
#[derive(Debug)]
enum First {
    Start(Box<Start>),
    Prepare(Box<Machine>),
    Reidentify(Identity),
}

/// A start that has been checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) record: Record,
    pub(super) network: Option<Wiring>,
    first: First,
    /// Whether the VM may have a disk from an earlier life.
    pub(super) is_another_life: bool,
}

impl Plan {
    /// Of a VM that starts with an image.
    pub(crate) fn new(home: &Home, image: &BootImage, config: &VmConfig) -> Result<Self, Error> {
        Self::with_id(home, image, config, random_hex(64))
    }

    /// Of another life of a VM: what it is stays, and its disk too. Nobody is at its streams any more, but somebody may
    /// come: standard input that was open before is again.
    pub(crate) fn again(home: &Home, image: &BootImage, last: &Record) -> Result<Self, Error> {
        let config = last
            .config
            .clone()
            .name(&last.name)
            .output(MainOutput::LogOnly);
        let mut plan = Self::with_id(home, image, &config, last.id.clone())?;
        plan.record.created_ns = last.created_ns;
        plan.is_another_life = true;
        Ok(plan)
    }

    fn with_id(
        home: &Home,
        image: &BootImage,
        config: &VmConfig,
        id: String,
    ) -> Result<Self, Error> {
        let hostname = identify(config, &id)?;
        let defaults = Defaults::new(&image.defaults, config, &hostname)?;
        let argv = workload::argv(&image.defaults, config)?;
        let wishes = |argv| Wishes {
            argv,
            stdin: config.stdin == MainStdin::Stream,
            tty: config.tty,
            timeout: config.timeout,
            ..Wishes::default()
        };
        let process = argv
            .clone()
            .map(|argv| defaults.process(wishes(argv)))
            .transpose()?;
        let argv = argv.unwrap_or_default();
        let init = config.init && !workload::wants_pid_1(&argv);
        let network = Wiring::new(home, config)?;
        let mut machine = machine::describe(config, &hostname, &defaults.user.0)?;
        if let Some(wiring) = &network {
            machine::connect(&mut machine, wiring);
        }
        let first = First::new(machine, process, init);
        let mut record = Record::new(
            config,
            (&image.reference, &image.digest),
            argv,
            defaults,
            id,
        );
        complete(&mut record, image);
        note(&mut record, network.as_ref());
        Ok(Self {
            record,
            network,
            first,
            is_another_life: false,
        })
    }

    /// Of a VM that goes on where another one was. What `config` says of the VM itself counts (its name, host name,
    /// where output goes, what becomes of it); what runs in it, and how much it has, is as it was.
    pub(crate) fn copy(
        home: &Home,
        image: &BootImage,
        facts: &Facts,
        config: &VmConfig,
    ) -> Result<Self, Error> {
        let id = random_hex(64);
        let hostname = identify(config, &id)?;
        let config = VmConfig {
            name: config.name.clone(),
            hostname: config.hostname.clone(),
            stdin: MainStdin::Null,
            output: config.output,
            start_deadline: config.start_deadline,
            retention: config.retention,
            boot: config.boot,
            on_failure: config.on_failure,
            // A port of the host's is one VM's.
            ports: config.ports.clone(),
            // Two of one name would be found in turns.
            network_aliases: config.network_aliases.clone(),
            // It ran for the one that was copied.
            timeout: None,
            labels: config.labels.clone(),
            restart: RestartPolicy::No,
            ..facts.config.clone()
        };
        let defaults = facts.defaults.renamed(&hostname);
        let network = Wiring::new(home, &config)?;
        let mut record = Record::new(
            &config,
            (&image.reference, &image.digest),
            facts.argv.clone(),
            defaults,
            id,
        );
        complete(&mut record, image);
        note(&mut record, network.as_ref());
        let mut identity = machine::identity(&hostname);
        identity.network = network.as_ref().map(|wiring| wiring.guest.clone());
        Ok(Self {
            record,
            network,
            is_another_life: false,
            first: First::Reidentify(identity),
        })
    }

    /// The first request to the agent, with the clock and fresh randomness of this moment.
    pub(super) fn request(&self) -> Request {
        let stamped = |machine: &Machine| {
            let mut machine = machine.clone();
            machine::stamp(&mut machine);
            machine
        };
        Request::new(match &self.first {
            First::Start(start) => RequestBody::Start(Start {
                machine: stamped(&start.machine),
                ..(**start).clone()
            }),
            First::Prepare(machine) => RequestBody::Prepare(stamped(machine)),
            First::Reidentify(identity) => RequestBody::Reidentify(machine::refresh(identity)),
        })
    }

    /// What the agent says when it has done it; `None` for a program that runs.
    pub(super) const fn answer(&self) -> Option<Answer> {
        match &self.first {
            First::Reidentify(identity) => Some(Answer::Identified(identity.generation)),
            First::Start(_) | First::Prepare(_) => None,
        }
    }
}

/// What follows from the network.
fn note(record: &mut Record, network: Option<&Wiring>) {
    let Some(wiring) = network else { return };
    record.ports.clone_from(&wiring.ports);
    record.address = Some(wiring.vmm.v4.into());
}

impl First {
    fn new(machine: Machine, process: Option<Process>, init: bool) -> Self {
        match process {
            Some(process) => Self::Start(Box::new(Start {
                machine,
                process,
                init,
                stay: false,
            })),
            None => Self::Prepare(Box::new(machine)),
        }
    }
}

/// What follows from the image beside the process.
fn complete(record: &mut Record, image: &BootImage) {
    record.labels.clone_from(&image.defaults.labels);
    record.labels.extend(record.config.labels.clone());
    if record.config.workload != Workload::None {
        let image = &image.defaults;
        record.check = Check::resolve(
            image.healthcheck.as_ref(),
            &image.shell,
            &record.config.health,
        );
    }
}

/// The host name that is wanted or follows from the id, of a configuration that can be.
fn identify(config: &VmConfig, id: &str) -> Result<String, Error> {
    if let Some(name) = &config.name {
        names::check(name)?;
    }
    if config.cpus == 0 {
        return Err(ConfigError::Cpus(config.cpus).into());
    }
    storage::check(&config.storage)?;
    let hostname = match &config.hostname {
        Some(hostname) => machine::check_hostname(hostname)?.to_owned(),
        None => id[..12].to_owned(),
    };
    Ok(hostname)
}
