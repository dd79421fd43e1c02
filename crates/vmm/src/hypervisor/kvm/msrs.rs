//! Model-specific registers: which there are, and reading and writing all of them.

use super::KvmError;
use kvm_bindings::{KVM_MAX_MSR_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::{Kvm, VcpuFd};

/// The TSC deadline is armed in the LAPIC, so it is written after the LAPIC; before it, the guest would sleep for ever.
pub(super) const TSC_DEADLINE: u32 = 0x6e0;
/// The page a guest of a software KVM shares with it. KVM does not list it, and the guest cannot go on without it.
pub(super) const SOFTWARE_KVM_PAGE: u32 = 0x4b56_4d10;

/// A register and its value.
pub(super) type Msr = (u32, u64);

/// The registers that a saved vCPU has, as far as this KVM knows.
pub(super) fn indices(kvm: &Kvm) -> Result<Vec<u32>, KvmError> {
    let list = kvm
        .get_msr_index_list()
        .map_err(KvmError::step("list the model-specific registers"))?;
    let mut indices = list.as_slice().to_vec();
    for extra in [TSC_DEADLINE, SOFTWARE_KVM_PAGE] {
        if !indices.contains(&extra) {
            indices.push(extra);
        }
    }
    Ok(indices)
}

/// Reads those of `indices` that this vCPU has: KVM lists some that its CPU lacks.
pub(super) fn read(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<Msr>, KvmError> {
    let mut values = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(KVM_MAX_MSR_ENTRIES)];
        let mut msrs = entries(batch.iter().map(|&index| (index, 0)))?;
        let count = vcpu
            .get_msrs(&mut msrs)
            .map_err(KvmError::step("read the model-specific registers"))?;
        values.extend(
            msrs.as_slice()[..count]
                .iter()
                .map(|msr| (msr.index, msr.data)),
        );
        // KVM stops at the first it cannot read.
        rest = &rest[(count + usize::from(count < batch.len())).min(rest.len())..];
    }
    Ok(values)
}

/// Writes registers. One that cannot be written must already have its value.
pub(super) fn write(vcpu: &VcpuFd, msrs: &[Msr]) -> Result<(), KvmError> {
    let mut rest = msrs;
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(KVM_MAX_MSR_ENTRIES)];
        let count = vcpu
            .set_msrs(&entries(batch.iter().copied())?)
            .map_err(KvmError::step("write the model-specific registers"))?;
        rest = &rest[count..];
        if count < batch.len() {
            let (index, value) = rest[0];
            let has = read(vcpu, &[index])?.first().map(|msr| msr.1);
            if has != Some(value) {
                return Err(KvmError::State(format!(
                    "model-specific register {index:#x} cannot be set to {value:#x} on this host"
                )));
            }
            rest = &rest[1..];
        }
    }
    Ok(())
}

fn entries(msrs: impl Iterator<Item = Msr>) -> Result<Msrs, KvmError> {
    let entries: Vec<_> = msrs
        .map(|(index, data)| kvm_msr_entry {
            index,
            data,
            ..kvm_msr_entry::default()
        })
        .collect();
    Msrs::from_entries(&entries)
        .map_err(|error| KvmError::State(format!("too many registers: {error}")))
}
