//! One virtual CPU.

use super::{Exit, KvmError, boot_state, cpuid, detect, exit};
use crate::arch::BootState;
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use proto::control::KernelFlavor;
use std::sync::atomic::{AtomicU8, Ordering};

/// A vCPU, owned by the thread that runs it.
pub struct Vcpu {
    pub(super) fd: VcpuFd,
}

/// Makes a vCPU leave the guest at once, or not enter it, from another thread.
///
/// The address of the vCPU's `immediate_exit` byte, which KVM shares with us for exactly this.
pub struct VcpuKicker {
    immediate_exit: *const AtomicU8,
}

// SAFETY: the byte is only ever accessed atomically, and whoever keeps a kicker keeps its vCPU at least as
// long (`crate::vcpu::VcpuThreads` does, next to each other).
unsafe impl Send for VcpuKicker {}
// SAFETY: as above.
unsafe impl Sync for VcpuKicker {}

impl VcpuKicker {
    /// Sets or clears the request; a signal to the thread makes a running guest notice it.
    pub fn request_exit(&self, request: ExitRequest) {
        // SAFETY: the pointer is into the vCPU's mapped `kvm_run`, which lives as long as the vCPU does.
        unsafe { &*self.immediate_exit }.store(request as u8, Ordering::SeqCst);
    }
}

/// Whether a vCPU shall stay out of the guest.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum ExitRequest {
    /// It may run.
    Run = 0,
    /// It leaves and stays out.
    Leave = 1,
}

impl Vcpu {
    /// Takes over a vCPU whose shared structure has `run_size` bytes. A copy of this process does not get that
    /// mapping: it would keep the VM in the kernel alive.
    pub(super) fn new(mut fd: VcpuFd, run_size: usize) -> Result<Self, KvmError> {
        let run = std::ptr::from_mut(fd.get_kvm_run());
        // SAFETY: exactly the mapping of the vCPU's `kvm_run`; the advice only concerns later copies of the process.
        let advised =
            unsafe { rustix::mm::madvise(run.cast(), run_size, rustix::mm::Advice::LinuxDontFork) };
        advised.map_err(|errno| KvmError::Step {
            step: "keep a vCPU to this process",
            source: kvm_ioctls::Error::new(errno.raw_os_error()),
        })?;
        Ok(Self { fd })
    }

    /// Which guest kernel this host's KVM needs.
    pub fn detect_flavor(&self) -> KernelFlavor {
        detect::flavor(&self.fd)
    }

    /// Gives the CPU its identity.
    pub fn configure(&self, kvm: &Kvm, id: u8, count: u8) -> Result<(), KvmError> {
        let cpuid = cpuid::for_vcpu(kvm, id, count)?;
        self.fd
            .set_cpuid2(&cpuid)
            .map_err(KvmError::step("set the CPU's features"))
    }

    /// Puts the boot CPU at the kernel's entry.
    pub fn set_boot_state(&self, state: &BootState) -> Result<(), KvmError> {
        let mut sregs = self
            .fd
            .get_sregs()
            .map_err(KvmError::step("read the segment registers"))?;
        boot_state::apply(&mut sregs);
        self.fd
            .set_sregs(&sregs)
            .map_err(KvmError::step("set the segment registers"))?;
        let regs = kvm_regs {
            rip: state.entry,
            rbx: state.start_info,
            rflags: 2,
            ..kvm_regs::default()
        };
        self.fd
            .set_regs(&regs)
            .map_err(KvmError::step("set the registers"))
    }

    /// A handle for other threads.
    pub fn kicker(&mut self) -> VcpuKicker {
        let run = self.fd.get_kvm_run();
        VcpuKicker {
            immediate_exit: std::ptr::from_mut(&mut run.immediate_exit).cast(),
        }
    }

    /// Runs guest code until something needs us.
    pub fn run(&mut self) -> Exit<'_> {
        match self.fd.run() {
            Ok(VcpuExit::IoOut(port, data)) => Exit::PortWrite(port, data),
            Ok(VcpuExit::IoIn(port, data)) => Exit::PortRead(port, data),
            Ok(VcpuExit::MmioWrite(address, data)) => Exit::MmioWrite(address, data),
            Ok(VcpuExit::MmioRead(_, data)) => Exit::MmioRead(data),
            Ok(VcpuExit::Intr) => Exit::Interrupted,
            Ok(VcpuExit::Shutdown) => Exit::TripleFault,
            Ok(VcpuExit::SystemEvent(..) | VcpuExit::Hlt) => Exit::Reset,
            Ok(VcpuExit::FailEntry(reason, cpu)) => Exit::Failed(format!(
                "the CPU refused to enter the guest: reason {reason:#x} on host CPU {cpu}"
            )),
            Ok(VcpuExit::InternalError) => Exit::InternalError,
            Ok(other) => Exit::Failed(format!("unexpected exit from the guest: {other:?}")),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Exit::Interrupted,
            Err(error) => Exit::Failed(format!("KVM_RUN failed: {error}")),
        }
    }

    /// After [`Exit::InternalError`]: where and why.
    pub fn describe_internal_error(&mut self) -> String {
        let rip = self.fd.get_regs().ok().map(|regs| regs.rip);
        exit::describe_internal_error(self.fd.get_kvm_run(), rip)
    }
}

/// Reads one model-specific register, or `None` where KVM does not have it.
pub(super) fn read_msr(vcpu: &VcpuFd, index: u32) -> Option<u64> {
    let entry = kvm_msr_entry {
        index,
        ..kvm_msr_entry::default()
    };
    let mut msrs = Msrs::from_entries(&[entry]).ok()?;
    match vcpu.get_msrs(&mut msrs) {
        Ok(1) => Some(msrs.as_slice()[0].data),
        _ => None,
    }
}
