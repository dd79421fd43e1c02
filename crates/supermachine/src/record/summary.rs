//! A record as it is shown.

use super::content::{Record, State};
use crate::bytes::ByteString;
use crate::network::PortMapping;
use crate::time::{as_rfc3339, from_unix_nanos};
use proto::happening::HealthStatus;
use proto::session::Exit;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The exit code of a VM that failed.
const FAILED: i32 = 125;

/// What is known about a VM, running or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VmSummary {
    /// Its name.
    pub name: String,
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// The image as it was asked for.
    pub image: String,
    /// The digest of the image's manifest.
    pub image_digest: String,
    /// Program and arguments, lossy; empty without a workload.
    pub command: Vec<String>,
    /// When it was started.
    #[serde(serialize_with = "as_rfc3339::serialize")]
    pub created: SystemTime,
    /// Running, or how it ended.
    pub status: VmStatus,
    /// Memory of the workload in bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u8,
    /// Ports of the host that lead to it.
    pub ports: Vec<PortMapping>,
    /// What went wrong without stopping the VM, for people.
    pub warnings: Vec<String>,
    /// The image's labels, and those it was given.
    pub labels: BTreeMap<String, String>,
    /// How often it was started again by its restart policy.
    pub restarts: u32,
    /// Whether the workload is well; `None` where nobody asks.
    pub health: Option<HealthStatus>,
}

/// Running, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum VmStatus {
    /// It was never started.
    Created,
    /// Its supervisor is at work and the workload does not run yet.
    Starting,
    /// It runs.
    Running {
        /// Since when.
        #[serde(serialize_with = "as_rfc3339::serialize")]
        since: SystemTime,
    },
    /// It runs, and its vCPUs stand still.
    Paused {
        /// Running since when.
        #[serde(serialize_with = "as_rfc3339::serialize")]
        since: SystemTime,
    },
    /// It ended, and its supervisor is about to start it again.
    Restarting {
        /// The exit code of its workload.
        exit_code: i32,
        /// When it ended.
        #[serde(serialize_with = "as_rfc3339::serialize")]
        at: SystemTime,
    },
    /// Its workload ended.
    Exited {
        /// How.
        #[serde(flatten, serialize_with = "exit_as_code")]
        exit: Exit,
        /// When.
        #[serde(serialize_with = "as_rfc3339::serialize")]
        at: SystemTime,
    },
    /// It was ended from outside before its workload ended, or had none.
    Stopped {
        /// When.
        #[serde(serialize_with = "as_rfc3339::serialize")]
        at: SystemTime,
    },
    /// It could not be started, or the VM failed.
    Failed {
        /// Why.
        message: String,
        /// When.
        #[serde(serialize_with = "as_rfc3339::serialize")]
        at: SystemTime,
    },
    /// Its supervisor died without a word.
    Crashed,
}

fn exit_as_code<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("exit_code", &exit.status.shell_code())?;
    map.serialize_entry("timed_out", &exit.timed_out)?;
    map.serialize_entry("out_of_memory", &exit.out_of_memory)?;
    map.end()
}

impl VmStatus {
    /// Whether the VM has a supervisor: it starts, runs, is paused or waits for its restart.
    pub const fn is_live(&self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running { .. } | Self::Paused { .. } | Self::Restarting { .. }
        )
    }

    /// The exit code `wait` shows for a VM that has ended: the workload's, 137 for one that was stopped or
    /// killed under its workload, 125 for one that failed.
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Created | Self::Starting | Self::Running { .. } | Self::Paused { .. } => None,
            Self::Restarting { exit_code, .. } => Some(*exit_code),
            Self::Exited { exit, .. } => Some(exit.status.shell_code()),
            Self::Stopped { .. } | Self::Crashed => Some(137),
            Self::Failed { .. } => Some(FAILED),
        }
    }
}

impl VmSummary {
    pub(super) fn new(record: Record, live: bool) -> Self {
        let status = match record.state {
            State::Starting
            | State::Running { .. }
            | State::Paused { .. }
            | State::Restarting { .. }
                if !live =>
            {
                VmStatus::Crashed
            }
            State::Created => VmStatus::Created,
            State::Starting => VmStatus::Starting,
            State::Paused { since_ns } => VmStatus::Paused {
                since: from_unix_nanos(since_ns),
            },
            State::Restarting { exit, at_ns } => VmStatus::Restarting {
                exit_code: exit.map_or(FAILED, |exit| exit.status.shell_code()),
                at: from_unix_nanos(at_ns),
            },
            State::Running { since_ns } => VmStatus::Running {
                since: from_unix_nanos(since_ns),
            },
            State::Exited { exit, at_ns } => VmStatus::Exited {
                exit,
                at: from_unix_nanos(at_ns),
            },
            State::Stopped { at_ns } => VmStatus::Stopped {
                at: from_unix_nanos(at_ns),
            },
            State::Failed { message, at_ns } => VmStatus::Failed {
                message,
                at: from_unix_nanos(at_ns),
            },
        };
        Self {
            name: record.name,
            id: record.id,
            image: record.image,
            image_digest: record.image_digest,
            command: record.argv.iter().map(ByteString::lossy).collect(),
            created: from_unix_nanos(record.created_ns),
            status,
            memory: record.config.memory.bytes(),
            cpus: record.config.cpus,
            ports: record.ports,
            warnings: record.warnings,
            labels: record.labels,
            restarts: record.restarts,
            health: record.health.map(|health| health.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::session::ExitStatus;
    use std::time::UNIX_EPOCH;

    #[test]
    fn an_exit_is_flat_in_json() {
        let exit = Exit {
            status: ExitStatus::Signal(9),
            duration_us: 0,
            max_rss_kib: 0,
            timed_out: false,
            out_of_memory: true,
        };
        let json = serde_json::to_value(VmStatus::Exited {
            exit,
            at: UNIX_EPOCH,
        })
        .unwrap();
        assert_eq!(
            json,
            serde_json::json!({"state": "exited", "exit_code": 137, "timed_out": false, "out_of_memory": true,
                "at": "1970-01-01T00:00:00.000000000Z"})
        );
    }
}
