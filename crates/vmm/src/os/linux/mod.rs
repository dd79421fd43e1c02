//! Linux: epoll and the signal that brings a vCPU thread out of KVM_RUN, disk I/O without a detour, copies of
//! the process, and its table of descriptors.

mod descriptors;
mod disk_file;
mod fork;
mod kick;
mod poller;

pub use descriptors::make_room as make_room_for_descriptors;
pub use disk_file::DirectFile;
pub use fork::{Forked, fork};
pub use kick::KickSignal;
pub use poller::{Poller, Ready, Watch};
