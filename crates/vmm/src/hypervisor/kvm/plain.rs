//! KVM's structures as bytes: their layout is the kernel's binary interface, so the bytes are the portable form.

use super::KvmError;
use kvm_bindings::{
    kvm_clock_data, kvm_debugregs, kvm_irqchip, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};

/// A structure of KVM's interface.
///
/// # Safety
/// Made of integers only, with every byte accounted for by a field (explicit padding included), so that any bytes of
/// the right length are a value.
pub(super) unsafe trait Plain: Sized {}

macro_rules! plain {
    ($($name:ty),*) => {
        $(
            // SAFETY: a structure of arch/x86/include/uapi/asm/kvm.h, which pads explicitly.
            unsafe impl Plain for $name {}
        )*
    };
}

plain!(
    kvm_clock_data,
    kvm_debugregs,
    kvm_irqchip,
    kvm_lapic_state,
    kvm_mp_state,
    kvm_regs,
    kvm_sregs,
    kvm_vcpu_events,
    kvm_xcrs,
    kvm_xsave
);

/// The bytes of `value`.
pub(super) fn to_bytes<T: Plain>(value: &T) -> Vec<u8> {
    // SAFETY: `value` is a live T of this size, and by `Plain` none of its bytes is uninitialized padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}

/// The structure that `bytes` are, if their number is right.
pub(super) fn from_bytes<T: Plain>(name: &str, bytes: &[u8]) -> Result<T, KvmError> {
    if bytes.len() != size_of::<T>() {
        return Err(KvmError::State(format!(
            "{name} has {} bytes, this KVM's has {}",
            bytes.len(),
            size_of::<T>()
        )));
    }
    // SAFETY: the length was checked, an unaligned read needs no alignment, and by `Plain` any bytes are a value.
    Ok(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_survives_as_bytes_and_a_wrong_length_is_refused() {
        let regs = kvm_regs {
            rip: 0x1234,
            ..kvm_regs::default()
        };
        let bytes = to_bytes(&regs);
        assert_eq!(from_bytes::<kvm_regs>("regs", &bytes).unwrap(), regs);
        let error = from_bytes::<kvm_regs>("regs", &bytes[1..]).unwrap_err();
        assert!(error.to_string().contains("regs has 143 bytes"), "{error}");
    }

    /// The sizes are the kernel's interface; a change here makes old snapshots unreadable.
    #[test]
    fn the_sizes_are_those_of_the_kernels_interface() {
        let sizes = [
            size_of::<kvm_regs>(),
            size_of::<kvm_sregs>(),
            size_of::<kvm_xsave>(),
            size_of::<kvm_xcrs>(),
            size_of::<kvm_debugregs>(),
            size_of::<kvm_lapic_state>(),
            size_of::<kvm_vcpu_events>(),
            size_of::<kvm_mp_state>(),
            size_of::<kvm_irqchip>(),
            size_of::<kvm_clock_data>(),
        ];
        assert_eq!(sizes, [144, 312, 4096, 392, 128, 1024, 64, 4, 520, 48]);
    }
}
