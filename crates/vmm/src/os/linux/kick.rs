//! The signal that interrupts KVM_RUN. Its handler does nothing; that it arrives is the point.

use std::ffi::{c_int, c_void};
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// The first real-time signal.
pub struct KickSignal;

extern "C" fn ignore(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}

impl KickSignal {
    /// Its number.
    pub fn number() -> c_int {
        SIGRTMIN()
    }

    /// Installs the handler, once per process, before any vCPU runs.
    pub fn install() -> std::io::Result<()> {
        register_signal_handler(Self::number(), ignore).map_err(Into::into)
    }
}
