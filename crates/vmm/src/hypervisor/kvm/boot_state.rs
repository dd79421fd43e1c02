//! The segment and control registers of a CPU at the PVH entry.

use crate::arch::{GDT, layout};
use kvm_bindings::{kvm_segment, kvm_sregs};

/// PE and the ET bit that is always set.
const CR0_PROTECTED_MODE: u64 = 0x11;

/// Flat 32-bit segments from the boot descriptor table, protection on, paging off.
pub(super) fn apply(sregs: &mut kvm_sregs) {
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = (size_of_val(&GDT) - 1) as u16;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cs = flat(1, 0xb);
    let data = flat(2, 0x3);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = kvm_segment {
        selector: 3 << 3,
        limit: 0x67,
        type_: 0xb,
        present: 1,
        ..kvm_segment::default()
    };
    sregs.cr0 = CR0_PROTECTED_MODE;
    sregs.cr4 = 0;
    sregs.efer = 0;
}

/// A segment that covers all 4 GiB.
fn flat(index: u16, type_: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: index << 3,
        type_,
        present: 1,
        dpl: 0,
        db: 1,
        s: 1,
        l: 0,
        g: 1,
        ..kvm_segment::default()
    }
}
