//! What story tests stand on: a state directory of their own, the real programs, images, a registry.
//!
//! ```no_run
//! use testkit::Home;
//!
//! let home = Home::new();
//! let out = home.run(["run", "--rm", &home.image("busybox"), "echo", "hi"]);
//! assert_eq!((out.text(), out.code), ("hi\n", 0));
//! home.assert_nothing_left();
//! ```
//!
//! Everything here panics with what to do when the machine or the build lacks something: a test that cannot
//! run has failed. `cargo xtask test` brings all of it.

#![forbid(unsafe_code)]

mod cli;
pub mod files;
mod home;
pub mod host;
pub mod internet;
mod layout;
mod oracle;
mod processes;
mod proxy;
mod registry;
mod runc;
pub mod target;
mod terminal;

pub use cli::{Cli, Output, Running};
pub use home::{Home, Kvm, Person};
pub use layout::Layout;
pub use oracle::{skopeo, umoci_unpack};
pub use processes::Processes;
pub use proxy::StallingProxy;
pub use registry::Registry;
pub use runc::{LIMITS, Runc};
pub use terminal::{Modes, Terminal};

/// How often a test repeats something: the first number, or the second in a soak (`cargo xtask soak`).
pub fn rounds([usual, soak]: [u64; 2]) -> u64 {
    match std::env::var_os("SUPERMACHINE_SOAK") {
        Some(_) => soak,
        None => usual,
    }
}
