//! What depends on the host's operating system.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::{
    DirectFile, Forked, KickSignal, Poller, Ready, Watch, fork, make_room_for_descriptors,
};
