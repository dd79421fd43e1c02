//! Processes: forking our own roles, waiting, killing.

use super::{check, fd::raw};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A process id as the caller's PID namespace numbers it.
pub type Pid = libc::pid_t;

/// Which of the two a fork returned to.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The caller: the child's id, and its pidfd if one was asked for.
    Parent(Pid, Option<OwnedFd>),
}

/// Forks a role of this program. Root, working directory and umask stay shared, so that all roles follow
/// when one of them switches the root.
pub fn fork() -> io::Result<Fork> {
    clone(&libc::clone_args {
        flags: libc::CLONE_FS as u64,
        ..base()
    })
}

/// Forks the first process of a new PID namespace, into a cgroup; the parent gets its pidfd.
pub fn fork_into_namespace(cgroup: &impl AsFd) -> io::Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_FS as u64
        | libc::CLONE_NEWPID as u64
        | libc::CLONE_PIDFD as u64
        | CLONE_INTO_CGROUP;
    let args = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd) as u64,
        cgroup: raw(cgroup) as u64,
        ..base()
    };
    let fork = clone(&args)?;
    Ok(match fork {
        // SAFETY: CLONE_PIDFD made the kernel store a fresh descriptor there, in the parent only.
        Fork::Parent(pid, _) => Fork::Parent(pid, Some(unsafe { OwnedFd::from_raw_fd(pidfd) })),
        Fork::Child => Fork::Child,
    })
}

/// Forks a worker into a cgroup. It shares nothing with its parent.
pub fn fork_worker(cgroup: &impl AsFd) -> io::Result<Fork> {
    clone(&libc::clone_args {
        flags: CLONE_INTO_CGROUP,
        cgroup: raw(cgroup) as u64,
        ..base()
    })
}

/// Forks a process that shares nothing with its parent.
pub fn fork_alone() -> io::Result<Fork> {
    clone(&base())
}

/// Makes a directory the working directory.
pub fn enter(directory: &impl AsFd) -> io::Result<()> {
    // SAFETY: a descriptor.
    check(unsafe { libc::fchdir(raw(directory)) }).map(drop)
}

/// Makes a forked process one of its own: a session, these standard streams, and no other descriptor of its parent's.
pub fn become_worker(stdio: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    // SAFETY: changes this process's session only.
    check(unsafe { libc::setsid() })?;
    for (target, source) in stdio.into_iter().enumerate() {
        // SAFETY: two descriptors. The parent's streams are above 2, so none of these overwrites one still needed.
        check(unsafe { libc::dup2(raw(&source), target as libc::c_int) })?;
    }
    // SAFETY: what the parent had open belongs to objects this process never touches again: it ends by `_exit`.
    check(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) })?;
    // SAFETY: a C string the kernel only reads.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, c"files".as_ptr()) }).map(drop)
}

/// `CLONE_INTO_CGROUP` of linux/sched.h, which is wider than libc's int.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub(super) fn base() -> libc::clone_args {
    // SAFETY: clone_args is integers only.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    args
}

fn clone(args: &libc::clone_args) -> io::Result<Fork> {
    // SAFETY: without CLONE_VM and without a stack this is fork(): the child continues here on its own
    // copy of everything. This program has one thread, so no lock can be held by another one.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(args),
            size_of_val(args),
        )
    })?;
    Ok(if pid == 0 {
        Fork::Child
    } else {
        Fork::Parent(pid as Pid, None)
    })
}

/// Puts this process into a new cgroup namespace whose root is the cgroup it is in.
pub fn enter_new_cgroup_namespace() -> io::Result<()> {
    // SAFETY: changes how this process sees cgroups, nothing in memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }).map(drop)
}

/// Ends the sharing of root, working directory and umask.
pub fn unshare_root() -> io::Result<()> {
    // SAFETY: gives this process its own copy; single-threaded, nobody depends on the sharing.
    check(unsafe { libc::unshare(libc::CLONE_FS) }).map(drop)
}

/// From now on, what this process starts lives in the PID and cgroup namespaces of `process`.
pub fn start_children_in(process: &OwnedFd) -> io::Result<()> {
    // SAFETY: a descriptor and flags.
    check(unsafe { libc::setns(raw(process), libc::CLONE_NEWPID | libc::CLONE_NEWCGROUP) })
        .map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which child.
    pub pid: Pid,
    /// Its status, as `wait` has it.
    pub status: i32,
    /// Its peak resident memory in KiB.
    pub max_rss_kib: u64,
}

/// Whether to wait for a child that has not ended yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Return `None`.
    None,
    /// Wait for it.
    Forever,
}

/// Takes the status of one child that has ended. `None`: no child, or none that has ended.
pub fn reap(patience: Patience) -> Option<Ended> {
    let options = match patience {
        Patience::None => libc::WNOHANG,
        Patience::Forever => 0,
    };
    let mut status = 0;
    // SAFETY: rusage is integers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the kernel writes one int and one rusage.
        match check(unsafe { libc::wait4(-1, &raw mut status, options, &raw mut usage) }) {
            Ok(0) => return None,
            Ok(pid) => {
                return Some(Ended {
                    pid,
                    status,
                    max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Waits for one child and returns its exit code.
#[cfg(test)]
pub fn exit_code_of(pid: Pid) -> i32 {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    libc::WEXITSTATUS(status)
}

/// The status of one child, if it has ended.
#[cfg(test)]
pub fn status_if_ended(pid: Pid) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let answer = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    (answer == pid).then_some(status)
}

/// Signals one process.
pub fn kill(pid: Pid, signal: i32) {
    // SAFETY: no memory is involved. A process that is gone is what the caller wanted or too late anyway.
    unsafe { libc::kill(pid, signal) };
}

/// Signals a process group.
pub fn kill_group(group: Pid, signal: i32) {
    kill(-group, signal);
}

/// Ends this process at once, without unwinding or flushing anything.
pub fn exit(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// This process's id.
pub fn id() -> Pid {
    // SAFETY: cannot fail.
    unsafe { libc::getpid() }
}
