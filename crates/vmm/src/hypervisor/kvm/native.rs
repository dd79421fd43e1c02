//! What a software KVM leaves out when it tells where a guest's kernel is.
//!
//! Such a KVM runs the patched kernel natively, and its way from a program into the kernel (SYSCALL) does not pass by the
//! segment registers it reports: a vCPU that is stopped inside of a system call has the program's CS and SS, and what
//! KVM itself knows of the mode it does not tell. Written back like that, the vCPU would go on in the kernel as if it
//! were the program: the next interrupt's frame says so, and the kernel kills the program for it.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

/// Where SYSCALL finds the kernel's selectors: bits 32 to 47 (AMD64 Architecture Programmer's Manual, volume 2,
/// section 6.1.1).
pub(super) const STAR: u32 = 0xc000_0081;
/// Bits of a selector that are no index.
const REQUESTED_PRIVILEGE: u64 = 3;

/// Gives a vCPU that is in the kernel's half of the addresses the segments SYSCALL would have given it.
pub(super) fn mend_segments(regs: &kvm_regs, sregs: &mut kvm_sregs, star: u64) {
    let in_kernel = regs.rip >> 63 == 1;
    if !in_kernel || (sregs.cs.dpl == 0 && sregs.ss.dpl == 0) {
        return;
    }
    let code = ((star >> 32) & 0xffff & !REQUESTED_PRIVILEGE) as u16;
    let flat = kvm_segment {
        limit: u32::MAX,
        present: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    sregs.cs = kvm_segment {
        selector: code,
        type_: 11, // code, may be read, was accessed
        l: 1,
        ..flat
    };
    sregs.ss = kvm_segment {
        selector: code.wrapping_add(8),
        type_: 3, // data, may be written, was accessed
        db: 1,
        ..flat
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL_STAR: u64 = 0x0023_0010_0000_0000;

    fn mended(rip: u64, code: (u16, u8), stack: (u16, u8)) -> [(u16, u8); 2] {
        let segment = |(selector, dpl)| kvm_segment {
            selector,
            dpl,
            ..kvm_segment::default()
        };
        let regs = kvm_regs {
            rip,
            ..kvm_regs::default()
        };
        let mut sregs = kvm_sregs {
            cs: segment(code),
            ss: segment(stack),
            ..kvm_sregs::default()
        };
        mend_segments(&regs, &mut sregs, USUAL_STAR);
        [sregs.cs, sregs.ss].map(|segment| (segment.selector, segment.dpl))
    }

    #[test]
    fn a_vcpu_inside_of_a_system_call_has_the_kernels_segments() {
        let rip = 0xffff_ffff_8107_442a;
        assert_eq!(mended(rip, (0x83, 3), (0x2b, 3)), [(0x10, 0), (0x18, 0)]);
        assert_eq!(mended(rip, (0x83, 3), (0x18, 0)), [(0x10, 0), (0x18, 0)]);
    }

    #[test]
    fn a_guest_that_says_nonsense_is_believed_and_stops_nobody() {
        let regs = kvm_regs {
            rip: u64::MAX,
            ..kvm_regs::default()
        };
        let mut sregs = kvm_sregs::default();
        sregs.cs.dpl = 3;
        mend_segments(&regs, &mut sregs, u64::MAX);
        assert_eq!((sregs.cs.selector, sregs.ss.selector), (0xfffc, 4));
    }

    #[test]
    fn what_is_right_stays_as_it_is() {
        let rip = 0xffff_ffff_8107_442a;
        assert_eq!(mended(rip, (0x10, 0), (0, 0)), [(0x10, 0), (0, 0)]);
        assert_eq!(
            mended(0x40_1374, (0x83, 3), (0x2b, 3)),
            [(0x83, 3), (0x2b, 3)]
        );
    }
}
