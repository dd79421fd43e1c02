//! Puts kernel, initramfs, command line and tables into guest memory (PVH).

use super::{BootState, layout, mptable, registers};
use devices::GuestMemory;
use linux_loader::configurator::{BootConfigurator, BootParams, pvh::PvhBootConfigurator};
use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use std::fs::File;
use std::io::{self, Seek};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// A step of loading that failed.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Not an ELF kernel, or it does not fit.
    #[error("cannot load the kernel: {0}")]
    Kernel(linux_loader::loader::Error),
    /// An ELF file without a PVH entry note.
    #[error("the kernel has no PVH entry (CONFIG_PVH)")]
    NoPvhEntry,
    /// The initramfs cannot be read.
    #[error("cannot read the initramfs: {0}")]
    Initramfs(io::Error),
    /// Kernel and initramfs together need more memory.
    #[error(
        "{memory_mib} MiB of memory are too few: kernel and initramfs need at least {needed_mib} MiB"
    )]
    TooSmall {
        /// What the VM has.
        memory_mib: u64,
        /// What it needs.
        needed_mib: u64,
    },
    /// Longer than the kernel accepts.
    #[error("the kernel command line has {0} bytes, over the limit of {max}", max = layout::CMDLINE_MAX - 1)]
    Cmdline(usize),
    /// A table fell outside of memory.
    #[error("cannot write the boot tables: {0}")]
    Tables(String),
}

/// Loads everything and says where the boot CPU starts.
pub fn load(
    memory: &GuestMemory,
    kernel: &mut File,
    initramfs: &mut File,
    cmdline: &str,
    vcpus: u8,
) -> Result<BootState, BootError> {
    let loaded = Elf::load(
        memory,
        None,
        kernel,
        Some(GuestAddress(layout::HIGH_MEMORY)),
    )
    .map_err(BootError::Kernel)?;
    let PvhBootCapability::PvhEntryPresent(entry) = loaded.pvh_boot_cap else {
        return Err(BootError::NoPvhEntry);
    };
    let module = load_initramfs(memory, initramfs, loaded.kernel_end)?;
    write_cmdline(memory, cmdline)?;
    let tables = |error| BootError::Tables(format!("{error}"));
    memory
        .write_slice(&mptable::build(vcpus), GuestAddress(layout::MP_TABLE))
        .map_err(tables)?;
    for (i, descriptor) in registers::GDT.iter().enumerate() {
        memory
            .write_obj(*descriptor, GuestAddress(layout::GDT + 8 * i as u64))
            .map_err(tables)?;
    }
    write_start_info(memory, module)?;
    Ok(BootState {
        entry: entry.0,
        start_info: layout::START_INFO,
    })
}

/// The initramfs goes to the end of low memory, on a page boundary.
fn load_initramfs(
    memory: &GuestMemory,
    initramfs: &mut File,
    kernel_end: u64,
) -> Result<hvm_modlist_entry, BootError> {
    let size = initramfs.metadata().map_err(BootError::Initramfs)?.len();
    let low_end = memory
        .iter()
        .next()
        .map_or(0, vm_memory::GuestMemoryRegion::len);
    let address = low_end.checked_sub(size).map(|address| address & !0xfff);
    let Some(address) = address.filter(|&address| address >= kernel_end) else {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        return Err(BootError::TooSmall {
            memory_mib: mib(low_end),
            needed_mib: mib(kernel_end + size) + 16,
        });
    };
    initramfs.rewind().map_err(BootError::Initramfs)?;
    memory
        .read_exact_volatile_from(GuestAddress(address), initramfs, size as usize)
        .map_err(|error| BootError::Initramfs(io::Error::other(error)))?;
    Ok(hvm_modlist_entry {
        paddr: address,
        size,
        cmdline_paddr: 0,
        reserved: 0,
    })
}

fn write_cmdline(memory: &GuestMemory, cmdline: &str) -> Result<(), BootError> {
    if cmdline.len() >= layout::CMDLINE_MAX {
        return Err(BootError::Cmdline(cmdline.len()));
    }
    let bytes = [cmdline.as_bytes(), &[0]].concat();
    memory
        .write_slice(&bytes, GuestAddress(layout::CMDLINE))
        .map_err(|error| BootError::Tables(format!("{error}")))
}

fn write_start_info(memory: &GuestMemory, module: hvm_modlist_entry) -> Result<(), BootError> {
    let map = memory_map(memory);
    let start_info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        nr_modules: 1,
        modlist_paddr: layout::MODULES,
        cmdline_paddr: layout::CMDLINE,
        memmap_paddr: layout::MEMORY_MAP,
        memmap_entries: map.len() as u32,
        ..hvm_start_info::default()
    };
    let mut params = BootParams::new(&start_info, GuestAddress(layout::START_INFO));
    params.set_sections(&map, GuestAddress(layout::MEMORY_MAP));
    params.set_modules(&[module], GuestAddress(layout::MODULES));
    PvhBootConfigurator::write_bootparams(&params, memory)
        .map_err(|error| BootError::Tables(format!("{error}")))
}

fn memory_map(memory: &GuestMemory) -> Vec<hvm_memmap_table_entry> {
    let entry = |type_, addr: u64, end: u64| hvm_memmap_table_entry {
        addr,
        size: end - addr,
        type_,
        reserved: 0,
    };
    let mut map = vec![
        entry(XEN_HVM_MEMMAP_TYPE_RAM, 0, layout::MP_TABLE),
        entry(
            XEN_HVM_MEMMAP_TYPE_RESERVED,
            layout::MP_TABLE,
            layout::HIGH_MEMORY,
        ),
    ];
    for region in memory.iter() {
        let start = vm_memory::GuestMemoryRegion::start_addr(region).0;
        let end = start + vm_memory::GuestMemoryRegion::len(region);
        map.push(entry(
            XEN_HVM_MEMMAP_TYPE_RAM,
            start.max(layout::HIGH_MEMORY),
            end,
        ));
    }
    map
}
