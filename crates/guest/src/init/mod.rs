//! PID 1: makes the machine ready for any image, starts the agent, and ends the machine when the agent ends.

pub mod caches;
mod cgroup;
mod freezer;
pub mod mounts;
mod network;
pub mod sysctl;

pub use cgroup::Cgroup;

use crate::sys::{process, signal, system};
use crate::{agent, console};
use proto::guest::FIRST_LINE;
use std::io;

/// Open files of one process: what `select` and programs that close "all" descriptors cope with, and what a
/// server may raise itself to.
pub const SOFT_FILES: u64 = 1024;
/// The kernel's own ceiling, fs.nr_open.
pub const HARD_FILES: u64 = 1 << 20;

/// A step of the boot that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct BootError {
    /// What was being done.
    pub step: String,
    source: io::Error,
}

/// Names the step that failed.
pub trait Step<T> {
    /// Turns the error into a boot error.
    fn step(self, step: impl Into<String>) -> Result<T, BootError>;
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T, BootError> {
        self.map_err(|source| BootError {
            step: step.into(),
            source,
        })
    }
}

/// The whole life of PID 1.
pub fn run() -> ! {
    console::line(FIRST_LINE);
    console::report_panics("PID 1");
    match boot() {
        Ok(agent) => supervise(agent),
        Err(error) => console::fatal(&error.to_string()),
    }
    system::sync();
    system::power_off()
}

/// Everything that is the same for every image, then the agent.
fn boot() -> Result<process::Pid, BootError> {
    system::set_umask(0);
    mounts::mount_all()?;
    let cgroup = Cgroup::create()?;
    network::bring_up().step("bring the network interfaces up")?;
    set_limits().step("set the resource limits")?;
    signal::block().step("block signals")?;
    system::set_umask(0o022);
    match process::fork().step("fork the agent")? {
        process::Fork::Child => agent::run(cgroup),
        process::Fork::Parent(agent, _) => Ok(agent),
    }
}

/// Inherited by everything that is ever started.
fn set_limits() -> io::Result<()> {
    system::set_limit(system::Limit::Files, SOFT_FILES, HARD_FILES)?;
    // The kernel derives its default from the memory size; in a VM the memory itself is the limit.
    system::set_limit(
        system::Limit::Processes,
        system::UNLIMITED,
        system::UNLIMITED,
    )
}

/// Takes the status of every child, which is all PID 1 does from now on. Returns when the agent has ended.
fn supervise(agent: process::Pid) {
    while let Some(ended) = process::reap(process::Patience::Forever) {
        if ended.pid != agent {
            continue;
        }
        if let Some(reason) = unexpected(ended.status) {
            console::agent_died(&reason);
        }
        return;
    }
    console::fatal("the agent is not a child of PID 1");
}

/// What to tell the host about the agent's end, if it was not orderly and not told yet.
fn unexpected(status: i32) -> Option<String> {
    if libc::WIFSIGNALED(status) {
        return Some(format!(
            "it was killed by signal {}",
            libc::WTERMSIG(status)
        ));
    }
    match libc::WEXITSTATUS(status) {
        0 | console::REPORTED => None,
        code => Some(format!("it exited with code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_nobody_told_about_is_told_by_pid_1() {
        assert_eq!(unexpected(0), None);
        assert_eq!(unexpected(console::REPORTED << 8), None);
        assert_eq!(unexpected(3 << 8).unwrap(), "it exited with code 3");
        assert_eq!(
            unexpected(libc::SIGKILL).unwrap(),
            "it was killed by signal 9"
        );
    }
}
