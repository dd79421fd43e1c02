//! Linux: epoll and the signal that brings a vCPU thread out of KVM_RUN.

mod kick;
mod poller;

pub use kick::KickSignal;
pub use poller::{Poller, Ready, Watch};
