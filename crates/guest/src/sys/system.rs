//! The machine as a whole: clock, name, limits, the end.

use super::check;
use std::io;

/// Sets the wall clock, in nanoseconds since 1970.
pub fn set_clock(nanoseconds: u64) -> io::Result<()> {
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
        tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
    };
    // SAFETY: the kernel only reads `time`.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) }).map(drop)
}

/// Sets the host name.
pub fn set_hostname(name: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// What a process may have of something.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Open files.
    Files,
    /// Processes of one user.
    Processes,
}

/// Sets the soft and hard limit of this process and of what it starts.
pub fn set_limit(limit: Limit, soft: u64, hard: u64) -> io::Result<()> {
    let resource = match limit {
        Limit::Files => libc::RLIMIT_NOFILE,
        Limit::Processes => libc::RLIMIT_NPROC,
    };
    let value = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the kernel only reads `value`.
    check(unsafe { libc::setrlimit(resource, &raw const value) }).map(drop)
}

/// No limit.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// Sets the permission bits that new files do not get.
pub fn set_umask(mask: libc::mode_t) {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::umask(mask) };
}

/// Bytes of memory the kernel has to give.
pub fn memory() -> io::Result<u64> {
    info().map(|info| info.totalram * u64::from(info.mem_unit))
}

/// Bytes of memory that nobody uses.
pub fn free_memory() -> io::Result<u64> {
    info().map(|info| info.freeram * u64::from(info.mem_unit))
}

fn info() -> io::Result<libc::sysinfo> {
    // SAFETY: sysinfo is integers only.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one sysinfo.
    check(unsafe { libc::sysinfo(&raw mut info) })?;
    Ok(info)
}

/// Writes every file system's pending data out.
pub fn sync() {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::sync() };
}

/// Ends the machine. The kernel is started with `reboot=k panic=-1`: a restart is a reset through the
/// keyboard controller, which the VMM takes as the end. There is no ACPI to power off with.
pub fn power_off() -> ! {
    loop {
        // SAFETY: does not return; were it to fail, there is nothing else to try.
        unsafe { libc::reboot(libc::RB_AUTOBOOT) };
        // SAFETY: waits for a signal, so that a machine that will not end does not spin.
        unsafe { libc::pause() };
    }
}
