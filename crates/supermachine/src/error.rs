//! What can go wrong, by step.

use std::time::Duration;

/// What failed. Each variant is a step; the message says what happened, [`Error::hint`] what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for something that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No VM of this name or id.
    #[error("no such VM: {0}")]
    NoSuchVm(String),
    /// The deadline passed first.
    #[error("{waiting_for} took longer than {limit:?}")]
    Deadline {
        /// What was waited for.
        waiting_for: &'static str,
        /// How long.
        limit: Duration,
    },
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Memory out of range.
    #[error("{0} bytes of memory are out of range: 16 MiB to 256 GiB")]
    Memory(u64),
}

impl Error {
    /// The exit code a command line ends with because of this error: 125 for ours, 126 and 127 for a program
    /// that cannot be run or does not exist, 124 for a deadline.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Deadline { .. } => 124,
            _ => 125,
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
