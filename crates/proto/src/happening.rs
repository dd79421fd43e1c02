//! What happens to a VM, as its supervisor tells it.

use crate::session::{Exit, Victim};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Something that happened to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When: nanoseconds since 1970 on the host's clock.
    pub at_ns: u64,
    /// What.
    pub kind: EventKind,
}

/// What can happen to a VM. A life begins with `Started` and ends with one of `Exited`, `Stopped`, `Panicked`,
/// `AgentDied`, `VmmDied` and `Failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// Its workload runs, or it waits for execs if it has none.
    Started,
    /// Its workload ended.
    Exited(Exit),
    /// Its guest's kernel killed a process of the workload because memory ran out; the victim, if it is known.
    OutOfMemory(Option<Victim>),
    /// Its guest's kernel panicked.
    Panicked {
        /// The kernel's words.
        reason: String,
    },
    /// The agent inside died.
    AgentDied {
        /// How.
        reason: String,
    },
    /// The VMM's process died.
    VmmDied {
        /// How.
        reason: String,
    },
    /// It ended for another reason of its own.
    Failed {
        /// Which.
        message: String,
    },
    /// It was stopped or killed before its workload ended.
    Stopped,
    /// Its health is another one than before.
    Health(HealthStatus),
    /// Its vCPUs were stopped.
    Paused,
    /// Its vCPUs go on.
    Resumed,
    /// It has another name.
    Renamed {
        /// The new one.
        name: String,
    },
    /// Other rules say what it may reach.
    NetworkUpdated,
    /// It was written down.
    SnapshotMade {
        /// The snapshot.
        name: String,
    },
    /// Copies of it were made.
    Forked {
        /// How many.
        count: u32,
    },
    /// It was refused a destination; each is told once, and the first ones only.
    EgressRefused {
        /// Protocol, address and port.
        flow: String,
        /// The rule, or what kind of address it is.
        reason: String,
        /// All refusals so far, this one and those that are not told included.
        total: u64,
    },
}

/// Whether a workload is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// No test has said so yet.
    Starting,
    /// It is.
    Healthy,
    /// Several tests in a row say that it is not.
    Unhealthy,
}
