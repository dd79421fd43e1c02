//! Starting a program in a child that shares our memory until it executes (`vfork`), so that no page table
//! is copied. Between clone and execve the child makes raw system calls on prepared data, nothing else: no
//! allocation, no lock, no unwinding.

use super::fd::raw;
use super::process::{CLONE_INTO_CGROUP, Pid, base};
use proto::session::{Resource, ResourceLimit};
use std::arch::asm;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

/// What the child does before it executes.
#[derive(Debug)]
pub struct Program<'a> {
    /// Paths to try, in order, until one executes.
    pub candidates: &'a [CString],
    /// Arguments.
    pub argv: &'a [CString],
    /// Environment.
    pub env: &'a [CString],
    /// Directory to enter first, if it is not the root.
    pub directory: Option<&'a CStr>,
    /// Who the child becomes.
    pub identity: &'a Identity,
    /// The child's soft limit of open files, if it differs from ours.
    pub soft_files: Option<u64>,
    /// Further limits of the child.
    pub limits: &'a [ResourceLimit],
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// What standard input is to the child's session.
    pub control: Control,
}

/// What standard input is to the session of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Just a descriptor.
    None,
    /// Its controlling terminal, which then belongs to the user.
    Terminal,
}

/// User, group and supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// Making the process itself.
    Clone,
    /// Session, descriptors, limits, signal mask.
    Prepare,
    /// Entering the directory.
    Directory,
    /// Becoming the user.
    Identity,
    /// Executing; the number is the candidate that failed last.
    Execute(usize),
}

/// Why no program runs.
#[derive(Debug, thiserror::Error)]
#[error("{step:?}: {source}")]
pub struct SpawnError {
    /// At which step.
    pub step: Step,
    /// What the kernel said.
    pub source: io::Error,
}

/// A program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its id for us.
    pub pid: Pid,
    /// Its id for itself, in its own PID namespace.
    pub inner_pid: Pid,
}

/// Everything the child needs, as bare pointers into data that outlives it, and its answer.
struct Shared {
    candidates: *const *const c_char,
    candidate_count: usize,
    argv: *const *const c_char,
    env: *const *const c_char,
    directory: *const c_char,
    uid: u32,
    gid: u32,
    groups: *const u32,
    group_count: usize,
    soft_files: Option<u64>,
    limits: *const ResourceLimit,
    limit_count: usize,
    stdio: [RawFd; 3],
    control: Control,
    inner_pid: Pid,
    failed: Option<(Step, i32)>,
}

/// Arrays of pointers that end with a null pointer, as execve wants them.
struct Pointers {
    candidates: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
}

impl Pointers {
    fn of(program: &Program<'_>) -> Self {
        Self {
            candidates: null_ended(program.candidates),
            argv: null_ended(program.argv),
            env: null_ended(program.env),
        }
    }

    fn shared(&self, program: &Program<'_>) -> Shared {
        Shared {
            candidates: self.candidates.as_ptr(),
            candidate_count: program.candidates.len(),
            argv: self.argv.as_ptr(),
            env: self.env.as_ptr(),
            directory: program.directory.map_or(std::ptr::null(), CStr::as_ptr),
            uid: program.identity.uid,
            gid: program.identity.gid,
            groups: program.identity.groups.as_ptr(),
            group_count: program.identity.groups.len(),
            soft_files: program.soft_files,
            limits: program.limits.as_ptr(),
            limit_count: program.limits.len(),
            stdio: program.stdio.map(|fd| raw(&fd)),
            control: program.control,
            inner_pid: 0,
            failed: None,
        }
    }
}

fn null_ended(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Starts a program as a child of the caller, in its own session, in a cgroup if one is given. Returns when
/// the program runs or has failed to.
pub fn spawn(program: &Program<'_>, cgroup: Option<&impl AsFd>) -> Result<Child, SpawnError> {
    let pointers = Pointers::of(program);
    let mut shared = pointers.shared(program);
    let mut args = base();
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = raw(cgroup) as u64;
    }
    // SAFETY: `shared` and everything it points to live until this returns, and it returns only after the
    // child has left this memory (CLONE_VFORK).
    let answer = unsafe { clone_and_call(&args, in_child, (&raw mut shared).cast()) };
    if answer < 0 {
        return Err(SpawnError {
            step: Step::Clone,
            source: io::Error::from_raw_os_error(-answer as i32),
        });
    }
    let pid = answer as Pid;
    // SAFETY: the child wrote through a pointer the compiler cannot see; it is gone, so this is the only
    // access.
    let shared = unsafe { std::ptr::read_volatile(&raw const shared) };
    let Some((step, errno)) = shared.failed else {
        return Ok(Child {
            pid,
            inner_pid: shared.inner_pid,
        });
    };
    // SAFETY: reaps the child that has just exited; nobody else knows its id yet.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    Err(SpawnError {
        step,
        source: io::Error::from_raw_os_error(errno),
    })
}

/// Makes this very process execute a program. Returns only if that failed; descriptors and identity may
/// have changed by then, so there is nothing left to do but report and exit.
pub fn become_program(program: &Program<'_>) -> SpawnError {
    let pointers = Pointers::of(program);
    let mut shared = pointers.shared(program);
    // SAFETY: all pointers in `shared` are live; nothing else runs in this process.
    let (step, errno) = unsafe { run(&mut shared) };
    SpawnError {
        step,
        source: io::Error::from_raw_os_error(errno),
    }
}

/// clone3 with a child that shares memory and stack: it runs `entry(argument)` below the caller's stack
/// frame and never comes back here. Returns what clone3 returned to the parent.
///
/// # Safety
/// `args` must ask for CLONE_VM and CLONE_VFORK, so that the parent stands still while the child uses its
/// stack. `entry` must not return, unwind, or touch memory except through `argument`.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_and_call(
    args: &libc::clone_args,
    entry: unsafe extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    let mut result = libc::SYS_clone3;
    // SAFETY: without `nostack` the compiler keeps nothing below the stack pointer, so the child's frames
    // there overwrite nothing of the parent's; registers are each task's own; memory is assumed changed.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, {argument}",
            "and rsp, -16",
            "call {entry}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            inout("rax") result,
            in("rdi") std::ptr::from_ref(args),
            in("rsi") size_of::<libc::clone_args>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// The child's whole life before its program.
///
/// # Safety
/// `shared` must point to a live [`Shared`].
unsafe extern "C" fn in_child(shared: *mut c_void) -> ! {
    // SAFETY: the caller's promise; the parent does not touch it while we run.
    let shared = unsafe { &mut *shared.cast::<Shared>() };
    // SAFETY: all pointers in it are live.
    shared.failed = Some(unsafe { run(shared) });
    // SAFETY: exits without running anything else.
    unsafe { libc::_exit(127) }
}

/// # Safety
/// All pointers in `shared` must be live.
unsafe fn run(shared: &mut Shared) -> (Step, i32) {
    // SAFETY: as promised by the caller, for all four.
    unsafe {
        if let Err(errno) = prepare(shared) {
            return (Step::Prepare, errno);
        }
        if !shared.directory.is_null() && libc::chdir(shared.directory) != 0 {
            return (Step::Directory, errno());
        }
        if let Err(errno) = take_identity(shared) {
            return (Step::Identity, errno);
        }
        execute(shared)
    }
}

/// The kernel's number for a resource.
const fn number_of(resource: Resource) -> libc::__rlimit_resource_t {
    match resource {
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::Locks => libc::RLIMIT_LOCKS,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::MessageQueues => libc::RLIMIT_MSGQUEUE,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::Files => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::ResidentMemory => libc::RLIMIT_RSS,
        Resource::RealTimePriority => libc::RLIMIT_RTPRIO,
        Resource::RealTimeTimeout => libc::RLIMIT_RTTIME,
        Resource::PendingSignals => libc::RLIMIT_SIGPENDING,
        Resource::Stack => libc::RLIMIT_STACK,
    }
}

/// # Safety
/// The caller is a fresh process, or one that is about to be replaced; `shared.limits` must point to
/// `shared.limit_count` limits.
unsafe fn prepare(shared: &mut Shared) -> Result<(), i32> {
    // SAFETY: system calls on integers and on locals.
    unsafe {
        // The id of the new session is the process's own id, as its PID namespace numbers it.
        shared.inner_pid = libc::setsid();
        if shared.inner_pid < 0 {
            return Err(errno());
        }
        // Descriptors of ours are above 2, so none of these overwrites one that is still needed.
        for (target, source) in shared.stdio.into_iter().enumerate() {
            if libc::dup2(source, target as RawFd) < 0 {
                return Err(errno());
            }
        }
        if shared.control == Control::Terminal {
            take_terminal(shared.uid)?;
        }
        if let Some(soft) = shared.soft_files {
            let mut limit = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_cur = soft;
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
                return Err(errno());
            }
        }
        for at in 0..shared.limit_count {
            let limit = *shared.limits.add(at);
            // The protocol's word for no limit is the kernel's: all bits set.
            let value = libc::rlimit {
                rlim_cur: limit.soft,
                rlim_max: limit.hard,
            };
            if libc::setrlimit(number_of(limit.resource), &raw const value) != 0 {
                return Err(errno());
            }
        }
        // The kernel's signal set is eight bytes; glibc's sigprocmask would keep its own signals blocked.
        let none = 0_u64;
        let how = libc::SIG_SETMASK;
        if libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const none,
            std::ptr::null::<u64>(),
            8,
        ) != 0
        {
            return Err(errno());
        }
    }
    Ok(())
}

/// Makes standard input the controlling terminal of the session that was just made. The terminal is the user's, as
/// after a login, and of the group tty already: programs open it again by its name.
///
/// # Safety
/// The caller is a fresh session leader.
unsafe fn take_terminal(uid: u32) -> Result<(), i32> {
    const KEEP_GROUP: libc::gid_t = libc::gid_t::MAX;
    // SAFETY: system calls on integers.
    unsafe {
        if libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) != 0
            || (uid != 0 && libc::fchown(libc::STDIN_FILENO, uid, KEEP_GROUP) != 0)
        {
            return Err(errno());
        }
    }
    Ok(())
}

/// The group goes before the user: after that it would not be allowed. Raw calls, because glibc's would
/// change every thread it knows of, which are the parent's.
///
/// # Safety
/// `shared.groups` must point to `shared.group_count` ids.
unsafe fn take_identity(shared: &Shared) -> Result<(), i32> {
    let done = |answer: libc::c_long| if answer == 0 { Ok(()) } else { Err(errno()) };
    // SAFETY: the kernel reads the ids.
    unsafe {
        // Our own roles are root with no supplementary groups: what would change nothing is left out.
        if shared.group_count > 0 {
            done(libc::syscall(
                libc::SYS_setgroups,
                shared.group_count,
                shared.groups,
            ))?;
        }
        if shared.gid != 0 {
            done(libc::syscall(libc::SYS_setgid, shared.gid))?;
        }
        if shared.uid != 0 {
            done(libc::syscall(libc::SYS_setuid, shared.uid))?;
        }
    }
    Ok(())
}

/// Tries the candidates as a shell's path search does: a missing or forbidden one does not end the search,
/// and a forbidden one is remembered.
///
/// # Safety
/// The arrays of `shared` must be live and end with null.
unsafe fn execute(shared: &Shared) -> (Step, i32) {
    let mut worst = (Step::Execute(0), libc::ENOENT);
    for at in 0..shared.candidate_count {
        // SAFETY: `at` is below the count; execve returns only on failure.
        let errno = unsafe {
            libc::execve(*shared.candidates.add(at), shared.argv, shared.env);
            errno()
        };
        match errno {
            libc::ENOENT | libc::ENOTDIR => {
                if worst.1 == libc::ENOENT {
                    worst.0 = Step::Execute(at);
                }
            }
            libc::EACCES => worst = (Step::Execute(at), errno),
            _ => return (Step::Execute(at), errno),
        }
    }
    worst
}

fn errno() -> i32 {
    // SAFETY: glibc's errno of this thread; while a child shares our memory, it is the child's to use.
    unsafe { *libc::__errno_location() }
}
