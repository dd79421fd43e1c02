//! A copy of this process that has its memory and nothing else of it.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A copied process, seen from the one that made it.
pub struct Forked {
    /// Its number.
    pub pid: i32,
    /// A hold on it.
    pub pidfd: OwnedFd,
}

/// Forks. `child` runs in the copy, which has one thread, the memory of this process, `control` as standard input,
/// its standard output and error, the files `kept`, and no other descriptor. The copy ends when `child` returns.
///
/// The caller holds no lock that another thread could hold too; the allocator's the C library takes care of.
pub fn fork(
    control: BorrowedFd<'_>,
    kept: &[RawFd],
    child: impl FnOnce() -> u8,
) -> io::Result<Forked> {
    // Nobody waits for the copies: who wants to know of their end has a pidfd.
    // SAFETY: sets the disposition of a signal for which no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    // SAFETY: the child goes on in this function alone and never returns into frames whose other threads are missing;
    // it ends by `_exit`.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic has its own way out (the hook ends the process), so this is the only one.
            let code = match strip(control.as_raw_fd(), kept) {
                Ok(()) => child(),
                Err(_) => 1,
            };
            // SAFETY: ends the process without running what other threads of the original registered.
            unsafe { libc::_exit(i32::from(code)) }
        }
        pid => {
            let handle = Pid::from_raw(pid).ok_or_else(|| io::Error::other("fork gave no pid"))?;
            Ok(Forked {
                pid,
                pidfd: pidfd_open(handle, PidfdFlags::empty())?,
            })
        }
    }
}

/// Puts the control socket in the place of standard input and closes everything else: the descriptors of KVM, of the
/// guest's connections and of its disks belong to the original.
fn strip(control: RawFd, kept: &[RawFd]) -> io::Result<()> {
    // SAFETY: replaces descriptor 0, the original's control socket, which nothing in this process uses any more.
    if unsafe { libc::dup2(control, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let mut kept: Vec<u32> = kept.iter().map(|&fd| fd as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for keep in kept {
        close(first, keep.saturating_sub(1))?;
        first = keep + 1;
    }
    close(first, u32::MAX)
}

fn close(first: u32, last: u32) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the objects that own these descriptors are on stacks and in structures that the copy never touches again.
    match unsafe { libc::close_range(first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
