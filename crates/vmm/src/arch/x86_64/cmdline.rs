//! The kernel command line.

use super::layout::{self, Slot};
use std::fmt::Write;

/// What every guest is told: say nothing unless it is a panic, end by a reset through the keyboard
/// controller (a software KVM does not survive a triple fault), do not probe for what is not there.
const BASE: &str = "console=ttyS0 quiet loglevel=1 reboot=k panic=-1 rdinit=/init \
                    8250.nr_uarts=1 random.trust_cpu=on rcupdate.rcu_expedited=1 tsc=nowatchdog";

/// The command line of a machine with our devices, `extra` appended.
pub fn machine_cmdline(extra: &str) -> String {
    let mut line = BASE.to_owned();
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

const _: () = assert!(BASE.len() + Slot::COUNT as usize * 48 < layout::CMDLINE_MAX / 2);
