//! How much of a log is kept.

use super::VmConfig;
use serde::{Deserialize, Serialize};

/// How much of what a workload writes is kept in its log: the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes at which a file of the log is full and the next one begins.
    pub max_size: u64,
    /// Files, the one that is written included; 1 at least.
    pub max_files: u32,
}

impl LogLimits {
    /// Two files of 16 MiB.
    pub const DEFAULT: Self = Self {
        max_size: 16 << 20,
        max_files: 2,
    };
}

impl Default for LogLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl VmConfig {
    /// How much of what the workload writes is kept.
    pub const fn log_limits(mut self, limits: LogLimits) -> Self {
        self.log = limits;
        self
    }
}
