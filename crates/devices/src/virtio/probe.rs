//! What a device under test does to the outside.

use super::device::Interrupt;
use super::doorbell::Doorbell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts interrupts, doorbell rings and changes of the configuration.
#[derive(Clone, Default)]
pub struct Probe(Arc<[AtomicU32; 3]>);

impl Probe {
    /// Interrupts since the last call.
    pub fn interrupts(&self) -> u32 {
        self.0[0].swap(0, Ordering::SeqCst)
    }

    /// Rings since the last call.
    pub fn rings(&self) -> u32 {
        self.0[1].swap(0, Ordering::SeqCst)
    }

    /// Announced changes of the configuration since the last call.
    pub fn changes(&self) -> u32 {
        self.0[2].swap(0, Ordering::SeqCst)
    }
}

impl Interrupt for Probe {
    fn signal_used(&self) {
        self.0[0].fetch_add(1, Ordering::SeqCst);
    }
    fn signal_config(&self) {
        self.0[2].fetch_add(1, Ordering::SeqCst);
    }
}

impl Doorbell for Probe {
    fn ring(&self) {
        self.0[1].fetch_add(1, Ordering::SeqCst);
    }
}
