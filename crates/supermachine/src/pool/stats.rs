//! A pool in figures.

use super::memory::Shortage;
use crate::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// A pool in figures, of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// VMs that wait to be used.
    pub ready: usize,
    /// VMs that are used.
    pub in_use: usize,
    /// VMs that come up, or were used and are looked at.
    pub making: usize,
    /// VMs that were told to end and have not yet.
    pub ending: usize,
    /// Calls of [`crate::Pool::acquire`] that wait.
    pub waiting: usize,
    /// VMs made so far.
    pub made: u64,
    /// VMs ended so far.
    pub ended: u64,
    /// VMs that could not be made, or died while nobody used them, or were not well when they came back.
    pub failed: u64,
    /// Calls of [`crate::Pool::acquire`] that were given a VM.
    pub acquired: u64,
    /// How long those waited, together.
    pub wait_total: Duration,
    /// How long one of them waited at most.
    pub wait_max: Duration,
}

impl PoolStats {
    pub(super) const fn new(standing: &Standing, counts: &Counts) -> Self {
        Self {
            ready: standing.ready,
            in_use: standing.in_use,
            making: standing.making,
            ending: standing.ending,
            waiting: standing.waiting,
            made: counts.made,
            ended: counts.ended,
            failed: counts.failed,
            acquired: counts.acquired,
            wait_total: counts.wait_total,
            wait_max: counts.wait_max,
        }
    }
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) made: u64,
    pub(super) ended: u64,
    pub(super) failed: u64,
    pub(super) acquired: u64,
    pub(super) wait_total: Duration,
    pub(super) wait_max: Duration,
}

/// How things stand.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) ready: usize,
    pub(super) in_use: usize,
    pub(super) making: usize,
    pub(super) ending: usize,
    pub(super) waiting: usize,
    pub(super) shortage: Option<Shortage>,
    /// What the last attempt to make a VM failed of.
    pub(super) failure: Option<Arc<Error>>,
    /// That, or what the last VM that nobody used died of.
    pub(super) cause: Option<Arc<Error>>,
}
