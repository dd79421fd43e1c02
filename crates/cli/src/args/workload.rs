//! Words about what runs, and in how large a machine.

use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Flags of `run`, `create` and `warm` about the process.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Workload")]
pub struct Workload {
    /// Set a variable; without a value, pass on our own
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<OsString>,

    /// Read variables from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Run as this user or uid, and group or gid
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<OsString>,

    /// Start in this directory; it is made if missing
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<OsString>,

    /// Host name inside the VM
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// Replace the entrypoint of the image, and drop its command
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<OsString>,
}

/// Flags of `run`, `create` and `warm` about the size of the VM.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct Machine {
    /// Memory of the workload, like 512M or 2G [default: 512M]
    #[arg(short, long, value_name = "SIZE", allow_negative_numbers = true)]
    pub memory: Option<String>,

    /// Number of CPUs, like 2 or 0.5 [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub cpus: Option<String>,

    /// Size of the writable disk [default: 10G]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub disk_size: Option<String>,
}

/// Flags of `run`, `create` and `warm` about where the image comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub struct Source {
    /// When to fetch the image: missing, always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "missing",
        hide_possible_values = true
    )]
    pub pull: PullPolicy,

    /// Choose this platform of the image, like linux/amd64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    // No doc comments: they would become a list of their own on the help screen.
    Missing,
    Always,
    Never,
}
