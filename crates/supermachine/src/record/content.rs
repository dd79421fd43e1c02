//! What stands in a record.

use crate::bytes::ByteString;
use crate::config::VmConfig;
use crate::health::{Check, Health};
use crate::network::PortMapping;
use crate::workload::Defaults;
use proto::session::Exit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Version of `record.json`.
pub(super) const VERSION: u32 = 1;

/// What stands in `record.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) id: String,
    /// The image as it was asked for.
    pub(crate) image: String,
    /// The digest of its manifest.
    pub(crate) image_digest: String,
    pub(crate) config: VmConfig,
    pub(crate) argv: Vec<ByteString>,
    pub(crate) defaults: Defaults,
    pub(crate) supervisor_pid: u32,
    /// Where the supervisor listens. Other processes may see another runtime directory.
    pub(crate) socket: PathBuf,
    pub(crate) created_ns: u64,
    pub(crate) state: State,
    /// Ports of the host that lead to it, as they were bound.
    #[serde(default)]
    pub(crate) ports: Vec<PortMapping>,
    /// Its address of its current or last life, if it has a network.
    #[serde(default)]
    pub(crate) address: Option<Ipv4Addr>,
    /// What went wrong without stopping the VM: a log that could not be written.
    pub(crate) warnings: Vec<String>,
    /// The image's labels and the caller's.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// How often its supervisor has started it again since it was last started from outside.
    #[serde(default)]
    pub(crate) restarts: u32,
    /// When its current or last life began; 0 before the first.
    #[serde(default)]
    pub(crate) started_ns: u64,
    /// How to ask whether the workload is well.
    #[serde(default)]
    pub(crate) check: Option<Check>,
    /// What the last tests of this life found.
    #[serde(default)]
    pub(crate) health: Option<Health>,
    /// Process id of the VMM.
    #[serde(default)]
    pub(crate) vmm_pid: u32,
}

/// Where in its life a VM is, as its supervisor last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// It was never started.
    Created,
    Starting,
    Running {
        since_ns: u64,
    },
    /// Its vCPUs stand still.
    Paused {
        since_ns: u64,
    },
    /// It ended at this time, and its supervisor is about to start it again.
    Restarting {
        exit: Option<Exit>,
        at_ns: u64,
    },
    Exited {
        exit: Exit,
        at_ns: u64,
    },
    Stopped {
        at_ns: u64,
    },
    Failed {
        message: String,
        at_ns: u64,
    },
}

impl Record {
    pub(crate) fn new(
        config: &VmConfig,
        image: (&str, &str),
        argv: Vec<ByteString>,
        defaults: Defaults,
        id: String,
    ) -> Self {
        Self {
            version: VERSION,
            name: config.name.clone().unwrap_or_default(),
            id,
            image: image.0.to_owned(),
            image_digest: image.1.to_owned(),
            config: config.clone(),
            argv,
            defaults,
            supervisor_pid: std::process::id(),
            socket: PathBuf::new(),
            created_ns: crate::time::unix_nanos(std::time::SystemTime::now()),
            state: State::Starting,
            ports: Vec::new(),
            address: None,
            warnings: Vec::new(),
            labels: BTreeMap::new(),
            restarts: 0,
            started_ns: 0,
            check: None,
            health: None,
            vmm_pid: 0,
        }
    }
}
