//! x86_64: the PVH boot protocol, MP tables, and the map of guest physical memory.

mod boot;
mod cmdline;
pub mod layout;
mod mptable;
mod registers;

pub use boot::{BootError, load};
pub use cmdline::machine_cmdline;
pub use registers::{BootState, GDT};

/// The guest kernel is built with `CONFIG_NR_CPUS=32`.
pub const MAX_VCPUS: usize = 32;
