//! The kernel command line.

use super::layout::{self, Slot};
use proto::control::KernelFlavor;
use std::fmt::Write;

/// What every guest is told: say nothing unless it is a panic, end by a reset through the keyboard
/// controller (a software KVM does not survive a triple fault), do not probe for what is not there, keep time by
/// KVM's clock, which goes on where it stopped (the TSC of a copy is ahead by the age of what it is a copy of).
const BASE: &str = "console=ttyS0 quiet loglevel=1 reboot=k panic=-1 rdinit=/init \
                    8250.nr_uarts=1 random.trust_cpu=on rcupdate.rcu_expedited=1 tsc=nowatchdog \
                    clocksource=kvm-clock";

/// A software KVM shows pages of 1 GiB whatever it is asked for, and faults on every access to one that the guest's
/// kernel mapped: without this a VM of 2 GiB and more does not come up.
const SOFTWARE_KVM: &str = " nogbpages";

/// The command line of a machine with our devices for this kernel, `extra` appended.
pub fn machine_cmdline(kernel: KernelFlavor, extra: &str) -> String {
    let mut line = BASE.to_owned();
    if kernel == KernelFlavor::SoftwareKvm {
        line.push_str(SOFTWARE_KVM);
    }
    for slot in Slot::all() {
        write!(
            line,
            " virtio_mmio.device=4K@{:#x}:{}",
            slot.address(),
            slot.irq()
        )
        .expect("writing to a string cannot fail");
    }
    if !extra.is_empty() {
        line.push(' ');
        line.push_str(extra);
    }
    line
}

const _: () =
    assert!(BASE.len() + SOFTWARE_KVM.len() + Slot::COUNT as usize * 48 < layout::CMDLINE_MAX / 2);
