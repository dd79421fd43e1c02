//! What the VMs of a pool are made of.

use crate::config::VmConfig;
use crate::error::Error;
use crate::handle::Image;
use crate::snapshots::Snapshot;
use crate::vm::Vm;

/// What the VMs of a pool are made of.
#[derive(Debug)]
pub(super) enum Origin {
    Image(Image),
    /// A snapshot and its memory in MiB, which is as it was.
    Snapshot(Box<Snapshot>, u32),
}

impl Origin {
    pub(super) fn start(&self, config: &VmConfig) -> Result<Vm, Error> {
        match self {
            Self::Image(image) => image.start(config),
            Self::Snapshot(snapshot, _) => snapshot.start(config),
        }
    }

    /// The memory of each VM.
    pub(super) const fn memory_mib(&self, config: &VmConfig) -> u32 {
        match self {
            Self::Image(_) => config.memory.shape_mib(),
            Self::Snapshot(_, mib) => *mib,
        }
    }
}
