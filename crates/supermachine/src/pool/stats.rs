//! A pool in figures.

use super::state::{Counts, Standing};
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
