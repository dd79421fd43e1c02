//! Linux: epoll and the signal that brings a vCPU thread out of KVM_RUN, and copies of the process.

mod fork;
mod kick;
mod poller;

pub use fork::{Forked, fork};
pub use kick::KickSignal;
pub use poller::{Poller, Ready, Watch};
