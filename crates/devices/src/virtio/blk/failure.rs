//! What a VMM learns when a disk's backend fails.

use std::{fmt, io};

/// What a disk was doing when its backend failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading.
    Read,
    /// Writing; `ENOSPC` means that the host's disk is full.
    Write,
    /// Making writes durable.
    Flush,
    /// Giving space back.
    PunchHole,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Flush => "flushing",
            Self::PunchHole => "giving space back",
        })
    }
}

/// A request that failed on the host's side. The guest was told that it is an I/O error.
#[derive(Debug, thiserror::Error)]
#[error("{operation} at byte {offset} of a disk failed")]
pub struct Failure {
    /// What was asked for.
    pub operation: Operation,
    /// Where on the disk.
    pub offset: u64,
    /// What the host said.
    pub source: io::Error,
}

/// Learns of failures. Called for each, and a guest may cause many: report the first.
pub type Observer = Box<dyn FnMut(Failure) + Send>;
