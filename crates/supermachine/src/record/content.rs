//! What stands in a record.

use crate::bytes::ByteString;
use crate::config::VmConfig;
use crate::workload::Defaults;
use proto::session::Exit;
use serde::{Deserialize, Serialize};
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
    /// What went wrong without stopping the VM: a log that could not be written.
    pub(crate) warnings: Vec<String>,
}

/// Where in its life a VM is, as its supervisor last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Starting,
    Running { since_ns: u64 },
    Exited { exit: Exit, at_ns: u64 },
    Stopped { at_ns: u64 },
    Failed { message: String, at_ns: u64 },
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
            warnings: Vec::new(),
        }
    }
}
