//! Why a VM ended that should not have.

use crate::packet::PacketError;
use proto::control::Step;
use std::io;
use std::path::PathBuf;

/// Why a VM did not start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The VMM's process cannot be started.
    #[error("cannot start {path}")]
    Spawn {
        /// Its program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that belongs to the VM cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The conversation with the VMM failed.
    #[error("the conversation with supermachine-vmm failed")]
    Control(#[from] PacketError),
    /// The VMM is of another release.
    #[error(
        "{path} is of release {found} (protocol {version}); this program is of release {}",
        crate::RELEASE
    )]
    Release {
        /// Its program.
        path: PathBuf,
        /// Its release.
        found: String,
        /// The version of its conversation.
        version: u16,
    },
    /// The VMM gave up at a step, with its own words.
    #[error("{message}")]
    Failed {
        /// Which step.
        step: Step,
        /// What happened and what to do about it.
        message: String,
        /// The last lines of the guest's console.
        console: String,
    },
    /// The VMM could not write the VM down; the VM is as it was.
    #[error("the VM could not be saved: {0}")]
    NotSaved(String),
    /// The VMM could not make a copy of the VM; the VM is as it was.
    #[error("the VM could not be forked: {0}")]
    NotForked(String),
    /// The VMM's process ended without a word.
    #[error("supermachine-vmm {how}")]
    Died {
        /// `was killed by signal 9`, `exited with code 3`.
        how: String,
        /// The last lines of the guest's console.
        console: String,
        /// The last words of the VMM.
        log: String,
    },
    /// The guest's kernel panicked.
    #[error("the guest's kernel panicked: {reason}")]
    GuestPanicked {
        /// The kernel's words.
        reason: String,
        /// The last lines of the guest's console.
        console: String,
    },
    /// The agent inside died: killed, or without the reaper it needs.
    #[error("the agent inside the VM died: {reason}")]
    AgentDied {
        /// How.
        reason: String,
        /// The last lines of the guest's console.
        console: String,
    },
    /// The first process of the guest gave up.
    #[error("the guest could not go on: {reason}")]
    GuestFatal {
        /// Its words.
        reason: String,
        /// The last lines of the guest's console.
        console: String,
    },
    /// The guest powered itself off before its workload ended.
    #[error("the VM powered off before its workload ended")]
    PoweredOff {
        /// The last lines of the guest's console.
        console: String,
    },
}

impl VmmError {
    /// The last lines of the guest's console, where there are any.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::Failed { console, .. }
            | Self::Died { console, .. }
            | Self::GuestPanicked { console, .. }
            | Self::AgentDied { console, .. }
            | Self::GuestFatal { console, .. }
            | Self::PoweredOff { console } => {
                Some(console.as_str()).filter(|console| !console.is_empty())
            }
            _ => None,
        }
    }
}
