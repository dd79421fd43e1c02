//! Giving back what the guest does not use.

use devices::GuestMemory;
use devices::virtio::balloon::Reclaim;
use rustix::mm::Advice;
use vm_memory::{GuestAddress, GuestMemory as _, Permissions};

/// Returns pages of guest memory to the host. Those of a VM that was restored read as they were saved again.
pub struct ToHost(pub GuestMemory);

impl Reclaim for ToHost {
    fn release(&self, address: GuestAddress, bytes: u64) {
        let slices = self
            .0
            .get_slices(address, bytes as usize, Permissions::ReadWrite);
        for slice in slices.into_iter().flatten().flatten() {
            // SAFETY: the range is guest memory, mapped for as long as `slice` lives, and only the guest's own content
            // is lost, which it said it does not need.
            let advised = unsafe {
                rustix::mm::madvise(
                    slice.ptr_guard_mut().as_ptr().cast(),
                    slice.len(),
                    Advice::LinuxDontNeed,
                )
            };
            // Memory that stays is no harm.
            let _ = advised;
        }
    }
}
