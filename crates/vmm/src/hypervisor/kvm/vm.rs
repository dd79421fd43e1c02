//! The VM: its memory slots, interrupt controllers, interrupt lines and write events.

use super::{KvmError, Vcpu};
use crate::arch::layout;
use kvm_bindings::{
    KVM_CAP_EXIT_ON_EMULATION_FAILURE, KVM_MEM_READONLY, kvm_enable_cap,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, Kvm, NoDatamatch, VmFd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use vm_memory::MmapRegion;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Who may write to a memory slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The guest.
    Writable,
    /// Only the host; a store by the guest leaves the guest.
    ReadOnly,
}

/// A virtual machine.
pub struct Vm {
    pub(super) fd: VmFd,
    /// What KVM maps into the guest must stay mapped here.
    regions: Vec<Arc<MmapRegion>>,
}

impl Vm {
    /// An empty VM: no memory, no CPUs.
    pub fn new(kvm: &Kvm) -> Result<Self, KvmError> {
        let fd = kvm.create_vm().map_err(KvmError::step("create a VM"))?;
        fd.set_tss_address(layout::KVM_TSS as usize)
            .map_err(KvmError::step("set the TSS address"))?;
        fd.set_identity_map_address(layout::KVM_IDENTITY_MAP)
            .map_err(KvmError::step("set the identity map address"))?;
        // Without it an instruction KVM cannot emulate is an internal error without a trace; a KVM that
        // lacks it still runs.
        let report = kvm_enable_cap {
            cap: KVM_CAP_EXIT_ON_EMULATION_FAILURE,
            args: [1, 0, 0, 0],
            ..kvm_enable_cap::default()
        };
        let _ = fd.enable_cap(&report);
        Ok(Self {
            fd,
            regions: Vec::new(),
        })
    }

    /// Shows `region` to the guest at `guest_address`. Do this before the interrupt controllers exist:
    /// afterwards each change waits for every CPU of the host (4-12 ms were measured).
    pub fn map(
        &mut self,
        guest_address: u64,
        region: Arc<MmapRegion>,
        access: Access,
    ) -> Result<(), KvmError> {
        let slot = kvm_userspace_memory_region {
            slot: self.regions.len() as u32,
            flags: if access == Access::ReadOnly {
                KVM_MEM_READONLY
            } else {
                0
            },
            guest_phys_addr: guest_address,
            memory_size: region.size() as u64,
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the region is mapped with this address and size, and `self.regions` keeps it so for as
        // long as the VM exists. The guest may write to it at any time; everyone else reaches it through
        // vm-memory's volatile accesses.
        unsafe { self.fd.set_user_memory_region(slot) }
            .map_err(KvmError::step("add guest memory"))?;
        self.regions.push(region);
        Ok(())
    }

    /// LAPICs, IOAPIC and PICs, all in the kernel. There is no PIT: a kernel that has a LAPIC timer with TSC deadlines and
    /// is told its frequencies has no use for one, and KVM's costs a thread of the host, for which every start waits (0.6
    /// ms, and 4 ms, a tick of the host, where a CPU is busy).
    pub fn create_interrupt_controllers(&self) -> Result<(), KvmError> {
        self.fd
            .create_irq_chip()
            .map_err(KvmError::step("create the interrupt controllers"))
    }

    /// A vCPU.
    pub fn create_vcpu(&self, id: u8) -> Result<Vcpu, KvmError> {
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(KvmError::step("create a vCPU"))?;
        Vcpu::new(fd, self.fd.run_size())
    }

    /// An edge-triggered interrupt line.
    pub fn irq_line(&self, irq: u32) -> Result<IrqLine, KvmError> {
        let event = event_fd()?;
        self.fd
            .register_irqfd(&event, irq)
            .map_err(KvmError::step("connect an interrupt line"))?;
        Ok(IrqLine(event))
    }

    /// An event for every 32-bit write to `guest_address`, which then does not leave the kernel.
    pub fn write_event(&self, guest_address: u64) -> Result<WriteEvent, KvmError> {
        let event = event_fd()?;
        // A length of 4 with no data match: any 32-bit value.
        let address = IoEventAddress::Mmio(guest_address);
        self.fd
            .register_ioevent(&event, &address, NoDatamatch)
            .map_err(KvmError::step("connect a write event"))?;
        Ok(WriteEvent(event))
    }
}

fn event_fd() -> Result<EventFd, KvmError> {
    EventFd::new(EFD_NONBLOCK).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        KvmError::Step {
            step: "make an event descriptor",
            source: kvm_ioctls::Error::new(errno),
        }
    })
}

/// An interrupt line of the guest.
pub struct IrqLine(EventFd);

impl IrqLine {
    /// Raises one interrupt.
    pub fn trigger(&self) {
        // Writing fails only when the counter is full, that is when interrupts are already pending.
        let _ = self.0.write(1);
    }
}

/// Counts the guest's writes to one address.
pub struct WriteEvent(EventFd);

impl WriteEvent {
    /// A second handle on the same count.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Counts one more, as if the guest had written.
    pub fn pretend(&self) {
        // Fails only when the counter is full, that is when the count is noticed anyway.
        let _ = self.0.write(1);
    }

    /// Forgets the writes so far; says whether there were any.
    pub fn take(&self) -> io::Result<bool> {
        match self.0.read() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for WriteEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self.0` owns this descriptor and lives at least as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
