//! Why a vCPU stopped running guest code, in words that no KVM type leaks into.

use kvm_bindings::kvm_run;

/// One return from the guest.
#[derive(Debug)]
pub enum Exit<'a> {
    /// `out` to a port nobody in the kernel handles.
    PortWrite(u16, &'a [u8]),
    /// `in`; the slice is what the guest gets.
    PortRead(u16, &'a mut [u8]),
    /// A store to an address that is no memory, or read-only memory.
    MmioWrite(u64, &'a [u8]),
    /// A load from an address that is no memory; the slice is what the guest gets.
    MmioRead(&'a mut [u8]),
    /// A signal or a kick; nothing happened in the guest.
    Interrupted,
    /// The guest asked for a reset or shutdown through KVM.
    Reset,
    /// Triple fault.
    TripleFault,
    /// KVM gave up; [`super::Vcpu::describe_internal_error`] says where and why.
    InternalError,
    /// The vCPU cannot go on, for this reason.
    Failed(String),
}

const INTERNAL_ERROR_EMULATION: u32 = 1;
const EMULATION_FLAG_INSTRUCTION_BYTES: u64 = 1;

/// Spells out an internal error: which one, and the instruction if KVM could not emulate one.
pub(super) fn describe_internal_error(run: &kvm_run, rip: Option<u64>) -> String {
    // SAFETY: the caller saw KVM_EXIT_INTERNAL_ERROR, for which KVM fills `internal` and, for suberror 1,
    // `emulation_failure`, which starts with the same fields. All members are plain integers.
    let (suberror, failure) = unsafe {
        (
            run.__bindgen_anon_1.internal.suberror,
            run.__bindgen_anon_1.emulation_failure,
        )
    };
    let at = rip.map_or_else(String::new, |rip| format!(" at address {rip:#x}"));
    if suberror != INTERNAL_ERROR_EMULATION {
        return format!("KVM reported internal error {suberror}{at}");
    }
    if failure.ndata < 1 || failure.flags & EMULATION_FLAG_INSTRUCTION_BYTES == 0 {
        return format!("KVM could not emulate an instruction{at}");
    }
    // SAFETY: with this flag KVM fills the instruction's size and bytes.
    let code = unsafe { failure.__bindgen_anon_1.__bindgen_anon_1 };
    let size = usize::from(code.insn_size).min(code.insn_bytes.len());
    let bytes: Vec<String> = code.insn_bytes[..size]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "KVM could not emulate the instruction{at}: {}",
        bytes.join(" ")
    )
}
