//! The one program inside the VM.
//!
//! The kernel starts it as PID 1 ([`init`]). It forks the [`agent`], which speaks with the host, and the
//! agent forks the [`reaper`], the first process of the PID namespace that everything of the image lives in.
//! No role ever executes this file again, so nothing of it has to exist in the image's tree.
//!
//! ```text
//! PID 1 -- agent -- reaper -- the workload and its orphans
//!             \------------- one child per exec, in the same namespace
//! ```
//!
//! All three share root, working directory and umask (`CLONE_FS`): when the agent switches to the image's
//! root, the others follow.

// The entry point is the C library's `main`: the standard library's own start-up costs a dozen system calls
// and a read of /proc, which is not mounted yet.
#![cfg_attr(not(test), no_main)]
// In a test the harness is the entry point, and what only ours reaches is unreachable.
#![cfg_attr(test, allow(dead_code))]

mod agent;
mod console;
mod failure;
mod files;
mod init;
mod machine;
mod process;
mod reaper;
mod sys;

/// Where the C library's start-up code goes.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    if sys::process::id() != 1 {
        console::line(
            "supermachine-guest is the first process of a supermachine VM and runs nowhere else",
        );
        return 1;
    }
    init::run()
}
