//! Whether a saved vCPU can go on here: what its guest found in CPUID must still be true.

use super::vcpu_state::{Leaf, leaf};
use super::{KvmError, Vcpu, VcpuState};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Kvm;

/// Positions in a [`Leaf`].
const EAX: usize = 3;
const EBX: usize = 4;
const ECX: usize = 5;
const EDX: usize = 6;

/// Words of feature bits: a guest that was shown one may use it.
const FEATURES: [(u32, u32, usize, &str); 14] = [
    (0x1, 0, ECX, "ecx"),
    (0x1, 0, EDX, "edx"),
    (0x7, 0, EBX, "ebx"),
    (0x7, 0, ECX, "ecx"),
    (0x7, 0, EDX, "edx"),
    (0x7, 1, EAX, "eax"),
    (0x7, 1, EDX, "edx"),
    (0xd, 0, EAX, "eax"),
    (0xd, 1, EAX, "eax"),
    (0x8000_0001, 0, ECX, "ecx"),
    (0x8000_0001, 0, EDX, "edx"),
    (0x8000_0007, 0, EDX, "edx"),
    (0x8000_0008, 0, EBX, "ebx"),
    (0x8000_0021, 0, EAX, "eax"),
];

/// Bits KVM computes or emulates whatever the CPU has. Leaf 1: TSC deadline (24), OSXSAVE (27), hypervisor (31) in ECX;
/// APIC (9) and hyper-threading (28) in EDX. Leaf 7: OSPKE (4) in ECX.
const fn virtual_bits(function: u32, index: u32, register: usize) -> u32 {
    match (function, index, register) {
        (0x1, 0, ECX) => 1 << 24 | 1 << 27 | 1 << 31,
        (0x1, 0, EDX) => 1 << 9 | 1 << 28,
        (0x7, 0, ECX) => 1 << 4,
        _ => 0,
    }
}

impl Vcpu {
    /// Refuses `saved` where it has what this host lacks, naming the first difference. This vCPU is new.
    ///
    /// What a vCPU here would have is what it reports once it was given all that KVM supports: a software KVM shows
    /// features of the host's CPU whatever it is asked for.
    pub fn check(&self, kvm: &Kvm, saved: &VcpuState) -> Result<(), KvmError> {
        let supported = kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(KvmError::step("list the CPU's features"))?;
        self.fd
            .set_cpuid2(&supported)
            .map_err(KvmError::step("set the CPU's features"))?;
        let here = self
            .fd
            .get_cpuid2(KVM_MAX_CPUID_ENTRIES)
            .map_err(KvmError::step("read the CPU's features"))?;
        match difference(saved.leaves(), &here) {
            Some(difference) => Err(KvmError::State(format!(
                "it was saved on another CPU: {difference}"
            ))),
            None => Ok(()),
        }
    }
}

fn difference(saved: &[Leaf], here: &CpuId) -> Option<String> {
    let then = |function, index| {
        saved
            .iter()
            .find(|leaf| leaf[0] == function && leaf[1] == index)
            .copied()
            .unwrap_or_default()
    };
    let now = |function, index| {
        here.as_slice()
            .iter()
            .find(|entry| entry.function == function && entry.index == index)
            .map_or(Leaf::default(), leaf)
    };
    let (then_vendor, now_vendor) = (vendor(&then(0, 0)), vendor(&now(0, 0)));
    if then_vendor != now_vendor {
        return Some(format!("made by {then_vendor}, this one by {now_vendor}"));
    }
    let (then_model, now_model) = (model(then(1, 0)[EAX]), model(now(1, 0)[EAX]));
    if then_model != now_model {
        return Some(format!("{then_model}, this one is {now_model}"));
    }
    FEATURES
        .into_iter()
        .find_map(|(function, index, register, name)| {
            let wanted = then(function, index)[register] & !virtual_bits(function, index, register);
            let missing = wanted & !now(function, index)[register];
            (missing != 0).then(|| {
                format!(
                    "it has the feature of CPUID leaf {function:#x}.{index} {name} bit {}, this one lacks it",
                    missing.trailing_zeros()
                )
            })
        })
}

/// The twelve letters of leaf 0.
fn vendor(leaf: &Leaf) -> String {
    let letters = [leaf[EBX], leaf[EDX], leaf[ECX]].map(u32::to_le_bytes);
    String::from_utf8_lossy(letters.as_flattened()).into_owned()
}

/// Family and model as the manuals count them; the stepping may differ.
fn model(eax: u32) -> String {
    let (family, model) = ((eax >> 8) & 0xf, (eax >> 4) & 0xf);
    let (more_family, more_model) = ((eax >> 20) & 0xff, (eax >> 16) & 0xf);
    let whole_family = if family == 0xf {
        family + more_family
    } else {
        family
    };
    format!("family {whole_family} model {}", more_model << 4 | model)
}

#[cfg(test)]
mod tests {
    use super::super::vcpu_state::cpuid;
    use super::*;

    const VENDOR: Leaf = [0, 0, 0, 1, 0x6874_7541, 0x444d_4163, 0x6974_6e65];
    /// Family 0x19 model 0x11.
    const MODEL: Leaf = [1, 0, 0, 0x00a1_0f11, 0, 0, 0];

    fn host(leaves: &[Leaf]) -> CpuId {
        cpuid(leaves).unwrap()
    }

    #[test]
    fn the_same_cpu_is_accepted_and_so_is_one_with_more() {
        assert_eq!(difference(&[VENDOR, MODEL], &host(&[VENDOR, MODEL])), None);
        let more = [7, 0, 0, 0, 1 << 5, 0, 0];
        assert_eq!(
            difference(&[VENDOR, MODEL], &host(&[VENDOR, MODEL, more])),
            None
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let avx2 = [7, 0, 0, 0, 1 << 5, 0, 0];
        let found = difference(&[VENDOR, MODEL, avx2], &host(&[VENDOR, MODEL])).unwrap();
        assert!(found.contains("leaf 0x7.0 ebx bit 5"), "{found}");
    }

    #[test]
    fn another_vendor_and_another_model_are_named() {
        let mut intel = VENDOR;
        intel[EBX] = 0x756e_6547;
        let found = difference(&[VENDOR, MODEL], &host(&[intel, MODEL])).unwrap();
        assert!(found.contains("AuthenticAMD"), "{found}");
        let mut older = MODEL;
        older[EAX] = 0x0083_0f10;
        let found = difference(&[VENDOR, MODEL], &host(&[VENDOR, older])).unwrap();
        assert_eq!(found, "family 25 model 17, this one is family 23 model 49");
    }

    #[test]
    fn what_kvm_makes_up_is_not_compared() {
        let mut running = MODEL;
        running[ECX] = 1 << 24 | 1 << 27 | 1 << 31;
        assert_eq!(
            difference(&[VENDOR, running], &host(&[VENDOR, MODEL])),
            None
        );
    }
}
