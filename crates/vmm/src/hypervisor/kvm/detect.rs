//! Which KVM is this? A software KVM runs the guest's kernel mode by emulation unless the guest uses the
//! interface that KVM offers for it; only our `software-kvm` kernel does (guest-kernel/README.md).

use super::{KvmError, missing_capabilities, vcpu::read_msr};
use kvm_ioctls::{Kvm, VcpuFd};
use proto::control::KernelFlavor;

/// Reading this register on a software KVM gives [`SOFTWARE_KVM_MAGIC`]; elsewhere the read fails.
const MSR_SOFTWARE_KVM_MAGIC: u32 = 0x4b56_4d11;
const SOFTWARE_KVM_MAGIC: u64 = 0x4d_5650;

pub(super) fn flavor(vcpu: &VcpuFd) -> KernelFlavor {
    match read_msr(vcpu, MSR_SOFTWARE_KVM_MAGIC) {
        Some(SOFTWARE_KVM_MAGIC) => KernelFlavor::SoftwareKvm,
        _ => KernelFlavor::Standard,
    }
}

/// What this host's KVM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Version of the interface.
    pub api_version: i32,
    /// Which guest kernel runs here.
    pub flavor: KernelFlavor,
    /// The most vCPUs a VM can have with that kernel.
    pub max_vcpus: usize,
    /// Capabilities we need and do not find.
    pub missing: Vec<&'static str>,
}

/// Opens KVM and looks, making and dropping one small VM.
pub fn probe() -> Result<Probe, KvmError> {
    let kvm = Kvm::new().map_err(KvmError::open)?;
    let vm = kvm.create_vm().map_err(KvmError::step("create a VM"))?;
    let vcpu = vm.create_vcpu(0).map_err(KvmError::step("create a vCPU"))?;
    let flavor = flavor(&vcpu);
    Ok(Probe {
        api_version: kvm.get_api_version(),
        flavor,
        max_vcpus: max_vcpus(flavor, &kvm),
        missing: missing_capabilities(&kvm),
    })
}

fn max_vcpus(flavor: KernelFlavor, kvm: &Kvm) -> usize {
    match flavor {
        KernelFlavor::SoftwareKvm => 1,
        KernelFlavor::Standard => kvm.get_max_vcpus().min(crate::arch::MAX_VCPUS),
    }
}
