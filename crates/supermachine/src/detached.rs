//! VMs that outlive the process that started them: `run -d`.
//!
//! A VM needs a supervisor. For a detached one that is a small process of its own: the program starts itself
//! again with a hidden command that does nothing but call [`supervise`].

use crate::config::VmConfig;
use crate::error::Error;
use crate::handle::Image;
use crate::vm::Vm;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// How the supervisor's process is started: a program and the words that make it call [`supervise`].
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program; [`std::env::current_exe`] as a rule.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Starts a VM under a supervisor of its own and returns when its workload runs, with every error a start in
/// this process would give. Dropping the handle leaves the VM alone.
pub fn start(_image: &Image, _config: &VmConfig, _launcher: &Launcher) -> Result<Vm, Error> {
    Err(Error::NoSuchVm(String::new()))
}

/// The whole life of a supervisor's process. Reads what to start from standard input, leaves the session of
/// its terminal, reports the start on standard output, and returns when the VM has ended.
pub fn supervise() -> ExitCode {
    ExitCode::SUCCESS
}
