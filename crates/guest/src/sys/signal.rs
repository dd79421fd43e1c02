//! Signals are never handled, only blocked and read from a descriptor: children then start with default
//! actions without a call for each.

use super::{check, fd};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

/// The highest signal number of Linux.
pub const MAX: i32 = 64;

/// Blocks the end of a child, which is read from [`child_ends`], and the broken pipe, which every write
/// reports by itself. Inherited by forks; [`super::spawn`] undoes it.
pub fn block() -> io::Result<()> {
    let set = blocked_set();
    // SAFETY: `set` is initialized; no old mask is asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) })
        .map(drop)
}

/// Makes a request to end wait until somebody looks for it with [`is_termination_pending`].
pub fn block_termination() -> io::Result<()> {
    let mut set = empty_set();
    // SAFETY: `set` is initialized, SIGTERM is a signal.
    check(unsafe { libc::sigaddset(&raw mut set, libc::SIGTERM) })?;
    // SAFETY: `set` is initialized; no old mask is asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })
        .map(drop)
}

/// Whether somebody has asked this process to end.
pub fn is_termination_pending() -> bool {
    let mut set = empty_set();
    // SAFETY: the kernel fills `set`, in which a signal is then looked for.
    unsafe {
        libc::sigpending(&raw mut set) == 0 && libc::sigismember(&raw const set, libc::SIGTERM) == 1
    }
}

/// A descriptor that is readable when a child has ended.
pub fn child_ends() -> io::Result<OwnedFd> {
    let mut set = empty_set();
    // SAFETY: `set` is initialized, SIGCHLD is a signal.
    check(unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) })?;
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `set` is initialized; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the notice off the descriptor, so that it waits for the next one.
pub fn clear(child_ends: &OwnedFd) {
    let mut notice = [0; size_of::<libc::signalfd_siginfo>()];
    // Equal signals merge into one notice; an empty descriptor is fine too.
    let _ = fd::read(child_ends, &mut notice);
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the whole set and cannot fail on a valid pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn blocked_set() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: `set` is initialized, both are signals.
    unsafe {
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGPIPE);
    }
    set
}
