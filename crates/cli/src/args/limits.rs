//! Words about what a workload may have and do.

use clap::Args;
use std::ffi::OsString;

/// Flags of `run` and `create` about what a workload may have and do.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Set a limit of setrlimit(2), like nofile=1024:2048; -1 is none
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,

    /// How many processes and threads there may be; -1 is any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub pids_limit: Option<String>,

    /// Run with a further group, by name or id
    #[arg(help_heading = "Workload", long, value_name = "GROUP")]
    pub group_add: Vec<OsString>,

    /// Set a kernel parameter of the VM
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,

    /// Does nothing: a workload has everything in its own VM
    #[arg(long, hide = true)]
    pub privileged: bool,

    /// Does nothing: a workload has every capability in its own VM
    #[arg(long, value_name = "CAP", hide = true)]
    pub cap_add: Vec<String>,

    /// As Docker's, where it asks for less confinement than there is
    #[arg(long, value_name = "OPTION", hide = true)]
    pub security_opt: Vec<String>,
}
