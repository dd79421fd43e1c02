//! The boot CPU's state at the PVH entry: 32-bit protected mode, flat segments, no paging
//! (Xen, docs/misc/pvh.pandoc, "x86/HVM direct boot ABI").

use super::layout;
use kvm_bindings::{kvm_segment, kvm_sregs};

/// Where the boot CPU begins.
#[derive(Debug, Clone, Copy)]
pub struct BootState {
    /// Address of the first instruction.
    pub entry: u64,
    /// Address of the start info, handed over in %ebx.
    pub start_info: u64,
}

/// PE and the ET bit that is always set.
const CR0_PROTECTED_MODE: u64 = 0x11;

/// The boot descriptor table: null, code, data, task state.
pub(super) const GDT: [u64; 4] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x0000_8b00_0000_0067,
];

impl BootState {
    /// Writes the state into the segment and control registers.
    pub fn apply_to(&self, sregs: &mut kvm_sregs) {
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
