//! What depends on the guest's instruction set.

#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "x86_64")]
pub use x86_64::{BootError, BootState, GDT, MAX_VCPUS, layout, load, machine_cmdline};
