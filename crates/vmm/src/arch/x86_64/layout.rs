//! The map of guest physical memory, and the fixed slots of its devices.
//!
//! ```text
//! 0x0000_0500  GDT                        (boot only)
//! 0x0000_6000  PVH start info             (boot only)
//! 0x0000_7000  PVH memory map, modules    (boot only)
//! 0x0002_0000  kernel command line
//! 0x0009_fc00  MP table, reserved
//! 0x0010_0000  RAM
//! 0x0100_0000  kernel (CONFIG_PHYSICAL_START)
//!    ...       initramfs, at the end of low RAM
//! 0xc000_0000  end of low RAM, at most
//! 0xd000_0000  virtio-mmio register pages, one per slot
//! 0xfec0_0000  IOAPIC, LAPIC at 0xfee0_0000
//! 0xfffb_c000  KVM's own pages on Intel (identity map, TSS)
//! 0x1_0000_0000 high RAM
//! ```

/// Where the boot descriptor table goes.
pub const GDT: u64 = 0x500;
/// PVH `hvm_start_info`.
pub const START_INFO: u64 = 0x6000;
/// PVH memory map.
pub const MEMORY_MAP: u64 = 0x7000;
/// PVH module list.
pub const MODULES: u64 = 0x7800;
/// Kernel command line.
pub const CMDLINE: u64 = 0x2_0000;
/// Longest command line with its NUL (COMMAND_LINE_SIZE of x86).
pub const CMDLINE_MAX: usize = 2048;
/// MP floating pointer and table: the last KiB of conventional memory, where kernels look.
pub const MP_TABLE: u64 = 0x9_fc00;
/// RAM begins again.
pub const HIGH_MEMORY: u64 = 0x10_0000;
/// RAM below the hole for devices ends here at the latest.
pub const LOW_RAM_MAX: u64 = 0xc000_0000;
/// RAM above the hole begins here.
pub const HIGH_RAM: u64 = 1 << 32;

/// First of the virtio-mmio register pages.
pub const MMIO_BASE: u64 = 0xd000_0000;
/// Distance between them.
pub const MMIO_STRIDE: u64 = devices::virtio::mmio::PAGE_SIZE as u64;
/// IOAPIC, as every PC has it.
pub const IOAPIC: u32 = 0xfec0_0000;
/// LAPIC, as every PC has it.
pub const LAPIC: u32 = 0xfee0_0000;
/// One page KVM needs on Intel CPUs without unrestricted guests.
pub const KVM_IDENTITY_MAP: u64 = 0xfffb_c000;
/// Three pages KVM needs there.
pub const KVM_TSS: u64 = 0xfffb_d000;

/// Interrupt of the serial port.
pub const SERIAL_IRQ: u32 = 4;
/// Interrupt of virtio slot 0; the others follow.
const VIRTIO_IRQ: u32 = 5;
/// Pins of the IOAPIC.
pub const IRQ_COUNT: u8 = 24;

/// A device's place on the virtio bus: its register page and its interrupt.
///
/// Part of a template's shape: adding a slot makes templates of the old shape unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u8);

impl Slot {
    /// Block devices, in the order of [`proto::guest::disk`].
    pub const fn disk(index: u8) -> Self {
        assert!(index < proto::guest::disk::COUNT);
        Self(index)
    }

    /// The agent's transport.
    pub const VSOCK: Self = Self(proto::guest::disk::COUNT);
    /// Entropy.
    pub const RNG: Self = Self(proto::guest::disk::COUNT + 1);
    /// Gives memory back.
    pub const BALLOON: Self = Self(proto::guest::disk::COUNT + 2);
    /// The network card.
    pub const NET: Self = Self(proto::guest::disk::COUNT + 3);
    /// Slots in use. Two file systems will follow.
    pub const COUNT: u8 = proto::guest::disk::COUNT + 4;

    /// Every slot in use.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Position on the bus.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Guest address of the register page.
    pub const fn address(self) -> u64 {
        MMIO_BASE + self.0 as u64 * MMIO_STRIDE
    }

    /// Interrupt number.
    pub const fn irq(self) -> u32 {
        VIRTIO_IRQ + self.0 as u32
    }

    /// The slot whose page holds `address`, and the offset in it.
    pub const fn at(address: u64) -> Option<(Self, u64)> {
        let Some(offset) = address.checked_sub(MMIO_BASE) else {
            return None;
        };
        let index = offset / MMIO_STRIDE;
        if index < Self::COUNT as u64 {
            Some((Self(index as u8), offset % MMIO_STRIDE))
        } else {
            None
        }
    }
}

const _: () = assert!(Slot::COUNT as u32 + VIRTIO_IRQ <= IRQ_COUNT as u32);

/// Splits memory of `bytes` around the hole for devices: start and length of each region.
pub fn ram_regions(bytes: u64) -> Vec<(u64, u64)> {
    let low = bytes.min(LOW_RAM_MAX);
    let mut regions = vec![(0, low)];
    if bytes > low {
        regions.push((HIGH_RAM, bytes - low));
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_never_covers_the_devices() {
        assert_eq!(ram_regions(256 << 20), [(0, 256 << 20)]);
        assert_eq!(
            ram_regions(4 << 30),
            [(0, LOW_RAM_MAX), (HIGH_RAM, 1 << 30)]
        );
    }

    #[test]
    fn every_address_of_a_slot_finds_it_again() {
        for slot in Slot::all() {
            assert_eq!(Slot::at(slot.address() + 0x50), Some((slot, 0x50)));
        }
        assert_eq!(Slot::at(MMIO_BASE - 1), None);
        assert_eq!(
            Slot::at(MMIO_BASE + u64::from(Slot::COUNT) * MMIO_STRIDE),
            None
        );
    }
}
