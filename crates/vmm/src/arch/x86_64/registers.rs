//! The boot CPU's state at the PVH entry: 32-bit protected mode, flat segments, no paging
//! (Xen, docs/misc/pvh.pandoc, "x86/HVM direct boot ABI"). The hypervisor's room turns it into registers.

/// Where the boot CPU begins.
#[derive(Debug, Clone, Copy)]
pub struct BootState {
    /// Address of the first instruction.
    pub entry: u64,
    /// Address of the start info, handed over in %ebx.
    pub start_info: u64,
}

/// The boot descriptor table: null, code, data, task state.
pub const GDT: [u64; 4] = [
    0,
    0x00cf_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x0000_8b00_0000_0067,
];
