//! Words about the life of a VM.

use super::run::Run;
use clap::Args;
use std::path::PathBuf;

/// Flags of `run` and `create` about the life of a VM.
#[derive(Debug, Default, Args)]
pub struct Life {
    /// Start it again when it ends: no, on-failure[:MAX], always or unless-stopped [default: no]
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,

    /// Signal that asks the workload to end, instead of the image's
    #[arg(long, value_name = "SIGNAL", allow_negative_numbers = true)]
    pub stop_signal: Option<String>,

    /// How long a stop waits before it kills, in seconds or like 5m [default: 10]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub stop_timeout: Option<String>,

    /// Put a label on the VM
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,

    /// Read labels from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,

    /// Write the VM's id to a file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
}

/// `create`
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "supermachine create [OPTIONS] IMAGE [COMMAND...]",
    disable_help_flag = true
)]
pub struct Create {
    #[command(flatten)]
    pub run: Run,
}

/// `start`
#[derive(Debug, Args)]
pub struct Start {
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `pause` and `unpause`
#[derive(Debug, Args)]
pub struct Names {
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `rename`
#[derive(Debug, Args)]
pub struct Rename {
    /// The VM
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What it is called from now on
    #[arg(value_name = "NEW_NAME")]
    pub to: String,
}

/// `inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// Print this instead, with fields like {{.State.Status}} or {{json .Config}}
    #[arg(short, long, value_name = "TEMPLATE")]
    pub format: Option<String>,

    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}
