//! What is known about a VM outside of its process.

use proto::session::Exit;
use serde::Serialize;
use std::time::SystemTime;

/// What is known about a VM, running or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmSummary {
    /// Its name.
    pub name: String,
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// The image as it was asked for.
    pub image: String,
    /// Program and arguments, lossy; empty without a workload.
    pub command: Vec<String>,
    /// When it was started.
    #[serde(skip)]
    pub created: SystemTime,
    /// Running, or how it ended.
    pub status: VmStatus,
    /// Memory of the workload in bytes.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u8,
}

/// Running, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VmStatus {
    /// Its supervisor is at work and the workload does not run yet.
    Starting,
    /// It runs.
    Running,
    /// Its workload ended.
    Exited {
        /// How.
        #[serde(skip)]
        exit: Exit,
        /// When.
        #[serde(skip)]
        at: SystemTime,
    },
    /// It was stopped or killed before its workload ended by itself, or had none.
    Stopped {
        /// When.
        #[serde(skip)]
        at: SystemTime,
    },
    /// It could not be started, or the VM failed.
    Failed {
        /// Why.
        message: String,
        /// When.
        #[serde(skip)]
        at: SystemTime,
    },
    /// Its supervisor died without a word.
    Crashed,
}
