//! Guest memory. Of a VM that boots: anonymous, private, in huge pages where the host has them. Of a VM that was
//! saved: private mappings of its memory files ([`layers`]), which load on first touch and are shared with every other
//! VM of the same files until they are written.

mod dump;
mod layers;
mod pagemap;

pub use dump::{dump, list_writes};
pub use layers::{make_ready, restore};

use crate::arch::layout;
use crate::error::VmmError;
use devices::GuestMemory;
use layers::Layer;
use proto::control::Step;
use rustix::mm::Advice;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryRegion, GuestRegionMmap, MmapRegion};

/// The regions of a guest's memory and the view of them that devices take.
#[derive(Clone)]
pub struct Ram {
    /// Guest address and mapping of each region, for KVM.
    pub regions: Vec<(u64, Arc<MmapRegion>)>,
    /// The same, for devices.
    pub memory: GuestMemory,
    /// What it was restored from, the oldest first; nothing for a VM that booted.
    layers: Arc<Vec<Layer>>,
}

impl Ram {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.regions
            .iter()
            .map(|(_, region)| region.size() as u64)
            .sum()
    }

    /// The open files that a copy of this process must keep.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.layers
            .iter()
            .map(|layer| layer.file.as_raw_fd())
            .collect()
    }

    /// In MiB, as it was asked for.
    pub fn mib(&self) -> u32 {
        (self.bytes() >> 20) as u32
    }
}

/// Maps `mib` MiB. Nothing is touched: the host gives pages as the guest uses them.
pub fn allocate(mib: u32) -> Result<Ram, VmmError> {
    let failed = |error: String| {
        VmmError::new(
            Step::Memory,
            format!("cannot map {mib} MiB of guest memory: {error}"),
        )
    };
    let mut regions = Vec::new();
    let mut views = Vec::new();
    for (start, length) in layout::ram_regions(u64::from(mib) << 20) {
        let mapping =
            MmapRegion::new(length as usize).map_err(|error| failed(error.to_string()))?;
        prefer_huge_pages(&mapping);
        let mapping = Arc::new(mapping);
        let view = GuestRegionMmap::with_arc(Arc::clone(&mapping), GuestAddress(start))
            .ok_or_else(|| failed("the region wraps around".into()))?;
        debug_assert_eq!(view.len(), length);
        regions.push((start, mapping));
        views.push(view);
    }
    let memory = GuestMemory::from_regions(views).map_err(|error| failed(error.to_string()))?;
    Ok(Ram {
        regions,
        memory,
        layers: Arc::default(),
    })
}

/// A first touch costs 25 us a small page and 10 us a huge one on software KVM.
fn prefer_huge_pages(mapping: &MmapRegion) {
    // SAFETY: the advice changes how the kernel backs the mapping, not what it holds.
    let advised = unsafe {
        rustix::mm::madvise(
            mapping.as_ptr().cast(),
            mapping.size(),
            Advice::LinuxHugepage,
        )
    };
    // A host without transparent huge pages runs as well, only slower.
    let _ = advised;
}
