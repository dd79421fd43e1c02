//! A machine at a kernel's entry.

use super::Machine;
use super::chassis::{Chassis, check_vcpus};
use super::devices::Devices;
use crate::arch;
use crate::control::ControlSocket;
use crate::disks::DiskSet;
use crate::error::VmmError;
use crate::memory;
use crate::network::NetworkSet;
use proto::control::{Boot, KernelFlavor, Step, VERSION};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Descriptors that came with [`Boot`].
pub struct BootFiles {
    /// The kernels on offer.
    pub kernels: Vec<(KernelFlavor, File)>,
    /// The guest binary in its archive.
    pub initramfs: File,
    /// Where the console's output goes.
    pub console: File,
}

impl BootFiles {
    /// Sorts the descriptors of a `Boot` message.
    pub fn new(boot: &Boot, descriptors: Vec<OwnedFd>) -> Result<Self, VmmError> {
        let expected = boot.kernels.len() + 2;
        if descriptors.len() != expected {
            let message = format!(
                "a boot with {expected} files came with {} descriptors",
                descriptors.len()
            );
            return Err(VmmError::new(Step::Protocol, message));
        }
        let mut files: Vec<File> = descriptors.into_iter().map(File::from).collect();
        let console = files.remove(expected - 1);
        let initramfs = files.remove(expected - 2);
        Ok(Self {
            kernels: boot.kernels.iter().copied().zip(files).collect(),
            initramfs,
            console,
        })
    }
}

impl Machine {
    /// Builds a machine that starts with a kernel.
    pub fn boot(
        boot: &Boot,
        mut files: BootFiles,
        parts: (&mut DiskSet, &mut NetworkSet),
        control: &ControlSocket,
    ) -> Result<Self, VmmError> {
        check_version(boot.version)?;
        check_vcpus(boot.vcpus)?;
        let chassis = Chassis::new(memory::allocate(boot.memory_mib)?, boot.vcpus)?;
        let mut kernel = choose_kernel(chassis.flavor, boot, &mut files.kernels)?;
        for (id, vcpu) in (0..).zip(&chassis.vcpus) {
            vcpu.configure(&chassis.kvm, id, boot.vcpus)?;
        }
        let cmdline = arch::machine_cmdline(chassis.flavor, &boot.extra_cmdline);
        chassis.vcpus[0].set_boot_state(&arch::load(
            &chassis.ram.memory,
            &mut kernel,
            &mut files.initramfs,
            &cmdline,
            boot.vcpus,
        )?)?;
        let (devices, bus) = Devices::plug(&chassis, files.console, parts, control)?;
        Ok(Self::assemble(chassis, devices, bus))
    }
}

pub(super) fn check_version(version: u16) -> Result<(), VmmError> {
    if version != VERSION {
        let message = format!("the library speaks control version {version}, this VMM {VERSION}");
        return Err(VmmError::new(Step::Protocol, message));
    }
    Ok(())
}

/// Takes the kernel that this host's KVM needs from those on offer.
fn choose_kernel(
    flavor: KernelFlavor,
    boot: &Boot,
    kernels: &mut Vec<(KernelFlavor, File)>,
) -> Result<File, VmmError> {
    if flavor == KernelFlavor::SoftwareKvm && boot.vcpus > 1 {
        let message = format!(
            "{} vCPUs asked for, but this host has a software KVM, whose guest kernel runs on one: use --cpus 1",
            boot.vcpus
        );
        return Err(VmmError::new(Step::Config, message));
    }
    let Some(index) = kernels.iter().position(|&(offered, _)| offered == flavor) else {
        let message = format!(
            "this host's KVM needs the guest kernel `kernel-{}`, which is not installed: run `supermachine setup`",
            flavor.name()
        );
        return Err(VmmError::new(Step::Kernel, message));
    };
    Ok(kernels.swap_remove(index).1)
}
