//! Linux: epoll and the signal that brings a vCPU thread out of KVM_RUN, disk I/O without a detour, and
//! copies of the process.

mod disk_file;
mod fork;
mod kick;
mod poller;

pub use disk_file::DirectFile;
pub use fork::{Forked, fork};
pub use kick::KickSignal;
pub use poller::{Poller, Ready, Watch};
