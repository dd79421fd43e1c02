//! What every machine has before it is given something to do: memory, interrupt controllers, vCPUs.

use crate::arch::{MAX_VCPUS, layout, layout::Slot};
use crate::error::VmmError;
use crate::hypervisor::kvm::{self, Vcpu};
use crate::hypervisor::{Access, KvmHandle, Vm};
use crate::memory::Ram;
use proto::control::{KernelFlavor, Step};
use std::sync::Arc;
use vm_memory::MmapRegion;

/// A machine without devices.
pub(super) struct Chassis {
    pub(super) kvm: KvmHandle,
    pub(super) vm: Vm,
    pub(super) ram: Ram,
    /// The register pages of all slots, which the guest sees as read-only memory.
    pub(super) pages: Arc<MmapRegion>,
    pub(super) vcpus: Vec<Vcpu>,
    /// The kernel that this host's KVM needs.
    pub(super) flavor: KernelFlavor,
}

impl Chassis {
    /// Builds it in the order that is cheapest for KVM: memory first, interrupt controllers after.
    pub(super) fn new(ram: Ram, vcpus: u8) -> Result<Self, VmmError> {
        let kvm = kvm::open()?;
        let mut vm = Vm::new(&kvm)?;
        for (address, region) in &ram.regions {
            vm.map(*address, Arc::clone(region), Access::Writable)?;
        }
        let pages = register_pages()?;
        vm.map(layout::MMIO_BASE, Arc::clone(&pages), Access::ReadOnly)?;
        vm.create_interrupt_controllers()?;
        let vcpus = (0..vcpus)
            .map(|id| vm.create_vcpu(id))
            .collect::<Result<Vec<_>, _>>()?;
        let flavor = vcpus[0].detect_flavor();
        Ok(Self {
            kvm,
            vm,
            ram,
            pages,
            vcpus,
            flavor,
        })
    }
}

/// How many vCPUs a machine may have, before anything is made.
pub(super) fn check_vcpus(count: u8) -> Result<(), VmmError> {
    if count == 0 || usize::from(count) > MAX_VCPUS {
        let message = format!("a VM has 1 to {MAX_VCPUS} vCPUs, not {count}");
        return Err(VmmError::new(Step::Config, message));
    }
    Ok(())
}

fn register_pages() -> Result<Arc<MmapRegion>, VmmError> {
    let size = usize::from(Slot::COUNT) * layout::MMIO_STRIDE as usize;
    MmapRegion::new(size)
        .map(Arc::new)
        .map_err(VmmError::at(Step::Memory, "cannot map the register pages"))
}
