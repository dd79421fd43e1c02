//! What the guest's CPU says it is: what KVM supports, less what would mislead the guest.

use super::KvmError;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Kvm;

/// Leaf 1, ECX: the LAPIC timer can be armed with a TSC deadline (KVM does it, which is looked at when it is opened, and does not list it).
const LEAF1_ECX_TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, EDX: more than one logical processor in the package.
const LEAF1_EDX_HTT: u32 = 1 << 28;
/// Leaf 0x80000007, EDX: the TSC is invariant. Hidden, so that the guest's clock is kvm-clock, which
/// continues where it stopped after a restore; the TSC jumps by the age of the snapshot.
const INVARIANT_TSC: u32 = 1 << 8;
/// Leaf 0x40000001, EAX: PV_UNHALT, SEND_IPI, SCHED_YIELD. Hypercalls between vCPUs that a software KVM
/// does not answer, and that a guest of one vCPU never needs.
const KVM_PV_CROSS_CPU: u32 = 1 << 7 | 1 << 11 | 1 << 13;

/// The CPUID of vCPU `id` of `count`.
pub(super) fn for_vcpu(kvm: &Kvm, id: u8, count: u8) -> Result<CpuId, KvmError> {
    let mut cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(KvmError::step("list the CPU's features"))?;
    let apic_id = u32::from(id);
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            0x1 => {
                // Bits 31-24: initial APIC id; 23-16: logical processors; 15-8: cache line in quadwords.
                entry.ebx = (entry.ebx & 0xff00) | apic_id << 24 | u32::from(count) << 16;
                entry.ecx |= LEAF1_ECX_TSC_DEADLINE;
                entry.edx = if count > 1 {
                    entry.edx | LEAF1_EDX_HTT
                } else {
                    entry.edx & !LEAF1_EDX_HTT
                };
            }
            // Cache parameters: bits 25-14 and 31-26 count the threads and cores that share them.
            0x4 => entry.eax = (entry.eax & 0x3fff) | u32::from(count.saturating_sub(1)) << 26,
            // Extended topology: one thread per core, all cores in one package.
            0xb | 0x1f => {
                entry.edx = apic_id;
                (entry.eax, entry.ebx, entry.ecx) = match entry.index {
                    0 => (0, 1, 1 << 8),
                    1 => (u8::BITS, u32::from(count), 1 | 2 << 8),
                    level => (0, 0, level),
                };
            }
            0x4000_0001 => entry.eax &= !KVM_PV_CROSS_CPU,
            0x8000_0007 => entry.edx &= !INVARIANT_TSC,
            0x8000_0008 => entry.ecx = (entry.ecx & !0xff) | u32::from(count.saturating_sub(1)),
            _ => {}
        }
    }
    Ok(cpuid)
}
