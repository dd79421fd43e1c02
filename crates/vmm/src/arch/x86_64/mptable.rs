//! The MP table (Intel MultiProcessor Specification 1.4): how a guest without ACPI finds its CPUs and how
//! the interrupt lines are wired to the IOAPIC.

use super::layout;

const ISA_BUS: u8 = 0;
const VERSION_1_4: u8 = 4;
/// LAPIC and IOAPIC version of KVM's models.
const APIC_VERSION: u8 = 0x14;

const ENTRY_CPU: u8 = 0;
const ENTRY_BUS: u8 = 1;
const ENTRY_IOAPIC: u8 = 2;
const ENTRY_IO_INTERRUPT: u8 = 3;
const ENTRY_LOCAL_INTERRUPT: u8 = 4;

const CPU_ENABLED: u8 = 1;
const CPU_BOOTSTRAP: u8 = 2;
const INTERRUPT_INT: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTINT: u8 = 3;
const ALL_LAPICS: u8 = 0xff;

/// The bytes for [`layout::MP_TABLE`]: floating pointer, header, entries.
pub fn build(vcpus: u8) -> Vec<u8> {
    let ioapic_id = vcpus;
    let mut entries = Entries::default();
    for id in 0..vcpus {
        let flags = if id == 0 {
            CPU_ENABLED | CPU_BOOTSTRAP
        } else {
            CPU_ENABLED
        };
        // Signature and features are informative: family 6, FPU and APIC.
        let mut cpu = vec![ENTRY_CPU, id, APIC_VERSION, flags];
        cpu.extend(0x600_u32.to_le_bytes());
        cpu.extend(0x201_u32.to_le_bytes());
        cpu.extend([0; 8]);
        entries.push(&cpu);
    }
    entries.push(&[&[ENTRY_BUS, ISA_BUS], b"ISA   ".as_slice()].concat());
    let mut ioapic = vec![ENTRY_IOAPIC, ioapic_id, APIC_VERSION, 1];
    ioapic.extend(layout::IOAPIC.to_le_bytes());
    entries.push(&ioapic);
    for irq in 0..layout::IRQ_COUNT {
        entries.push(&[
            ENTRY_IO_INTERRUPT,
            INTERRUPT_INT,
            0,
            0,
            ISA_BUS,
            irq,
            ioapic_id,
            irq,
        ]);
    }
    entries.push(&[
        ENTRY_LOCAL_INTERRUPT,
        INTERRUPT_EXTINT,
        0,
        0,
        ISA_BUS,
        0,
        0,
        0,
    ]);
    entries.push(&[
        ENTRY_LOCAL_INTERRUPT,
        INTERRUPT_NMI,
        0,
        0,
        ISA_BUS,
        0,
        ALL_LAPICS,
        1,
    ]);

    let mut table = floating_pointer();
    table.extend(header(&entries));
    table.extend(entries.bytes);
    table
}

#[derive(Default)]
struct Entries {
    bytes: Vec<u8>,
    count: u16,
}

impl Entries {
    fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(entry);
        self.count += 1;
    }
}

/// Section 4.1: 16 bytes that point to the table right behind them.
fn floating_pointer() -> Vec<u8> {
    let mut pointer = b"_MP_".to_vec();
    pointer.extend((layout::MP_TABLE as u32 + 16).to_le_bytes());
    pointer.extend([1, VERSION_1_4, 0, 0, 0, 0, 0, 0]);
    seal(&mut pointer, 10);
    pointer
}

/// Section 4.2: 44 bytes.
fn header(entries: &Entries) -> Vec<u8> {
    let mut header = b"PCMP".to_vec();
    header.extend((44 + entries.bytes.len() as u16).to_le_bytes());
    header.extend([VERSION_1_4, 0]);
    header.extend(b"SMACHINE");
    header.extend(b"MICROVM     ");
    header.extend([0; 6]);
    header.extend(entries.count.to_le_bytes());
    header.extend(layout::LAPIC.to_le_bytes());
    header.extend([0; 4]);
    let sum = header
        .iter()
        .chain(&entries.bytes)
        .fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    header[7] = sum.wrapping_neg();
    header
}

/// Sets the byte at `at` so that all bytes sum to zero.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at] = bytes
        .iter()
        .fold(0_u8, |sum, &byte| sum.wrapping_add(byte))
        .wrapping_neg();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, &byte| sum.wrapping_add(byte))
    }

    #[test]
    fn checksums_hold_and_the_table_fits_below_the_hole() {
        for vcpus in [1, 2, 32] {
            let table = build(vcpus);
            assert_eq!(sum(&table[..16]), 0);
            assert_eq!(sum(&table[16..]), 0);
            let length = usize::from(u16::from_le_bytes([table[20], table[21]]));
            assert_eq!(length, table.len() - 16);
            assert!(
                layout::MP_TABLE + table.len() as u64 <= 0xa_0000,
                "{vcpus} vCPUs do not fit"
            );
        }
    }

    #[test]
    fn a_table_lists_every_cpu_and_interrupt_line() {
        let table = build(3);
        let count = u16::from_le_bytes([table[16 + 34], table[16 + 35]]);
        assert_eq!(count, 3 + 1 + 1 + u16::from(layout::IRQ_COUNT) + 2);
    }
}
