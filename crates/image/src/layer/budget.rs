//! Counting a layer's entries against its limits.

use super::attributes::Xattr;
use super::{Limits, Refusal};

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    entries: u64,
    devices: u64,
    metadata: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut limits = limits.clone();
        limits.max_entries = limits.max_entries.min(u32::MAX.into());
        Self {
            limits,
            entries: 0,
            devices: 0,
            metadata: 0,
        }
    }

    pub(super) fn entry(&mut self, xattrs: &[Xattr]) -> Result<(), Refusal> {
        self.node()?;
        self.metadata(
            xattrs
                .iter()
                .map(|xattr| xattr.name.len() + xattr.value.len())
                .sum(),
        )
    }

    pub(super) fn node(&mut self) -> Result<(), Refusal> {
        spend(
            &mut self.entries,
            1,
            self.limits.max_entries,
            "entries in a layer",
        )
    }

    pub(super) fn device(&mut self) -> Result<(), Refusal> {
        spend(
            &mut self.devices,
            1,
            self.limits.max_devices,
            "devices in a layer",
        )
    }

    pub(super) fn metadata(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = self.limits.max_metadata_bytes;
        spend(
            &mut self.metadata,
            bytes as u64,
            limit,
            "bytes of names and attributes in a layer",
        )
    }
}

fn spend(spent: &mut u64, more: u64, limit: u64, what: &'static str) -> Result<(), Refusal> {
    *spent = spent.saturating_add(more);
    if *spent > limit {
        Err(Refusal::Limit { limit, what })
    } else {
        Ok(())
    }
}
