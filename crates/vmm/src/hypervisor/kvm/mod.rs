//! KVM, by the book (Documentation/virt/kvm/api.rst), and the few things a software KVM needs besides.

mod boot_state;
mod cpuid;
mod detect;
mod error;
mod exit;
mod host_cpu;
mod msrs;
mod native;
mod plain;
mod vcpu;
mod vcpu_state;
mod vm;
mod vm_state;

pub use detect::{Probe, probe};
pub use error::KvmError;
pub use exit::Exit;
pub use vcpu::{ExitRequest, Vcpu, VcpuKicker};
pub use vcpu_state::VcpuState;
pub use vm::{Access, IrqLine, Vm, WriteEvent};

use kvm_ioctls::{Cap, Kvm};

/// An open /dev/kvm.
pub type KvmHandle = Kvm;

/// The model-specific registers of a saved vCPU.
pub fn msr_indices(kvm: &Kvm) -> Result<Vec<u32>, KvmError> {
    msrs::indices(kvm)
}

/// The only version of the interface there has been since 2007.
const API_VERSION: i32 = 12;

/// What we cannot do without, with the names KVM's documentation gives them.
const REQUIRED: [(Cap, &str); 9] = [
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::TscDeadlineTimer, "KVM_CAP_TSC_DEADLINE_TIMER"),
];

/// Opens /dev/kvm and checks that it is a KVM we can use.
pub fn open() -> Result<Kvm, KvmError> {
    let kvm = Kvm::new().map_err(KvmError::open)?;
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(KvmError::ApiVersion(version));
    }
    let missing = missing_capabilities(&kvm);
    if missing.is_empty() {
        Ok(kvm)
    } else {
        Err(KvmError::Missing(missing))
    }
}

fn missing_capabilities(kvm: &Kvm) -> Vec<&'static str> {
    REQUIRED
        .iter()
        .filter(|(cap, _)| !kvm.check_extension(*cap))
        .map(|&(_, name)| name)
        .collect()
}
