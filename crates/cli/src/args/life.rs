//! Words about the life of a VM.

use super::run::Run;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Flags of `run` and `create` about the life of a VM.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Life")]
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

    /// How much of the log is kept: max-size=10m, max-file=3 [default: 16 MiB, 2]
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,

    /// Ask with this line of shell whether the workload is well, instead of the image's way
    #[arg(help_heading = "Health", long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,

    /// Time between two such tests [default: 30s]
    #[arg(
        help_heading = "Health",
        long,
        value_name = "TIME",
        allow_negative_numbers = true
    )]
    pub health_interval: Option<String>,

    /// How long one test may take [default: 30s]
    #[arg(
        help_heading = "Health",
        long,
        value_name = "TIME",
        allow_negative_numbers = true
    )]
    pub health_timeout: Option<String>,

    /// How long failed tests do not count after the start [default: 0s]
    #[arg(
        help_heading = "Health",
        long,
        value_name = "TIME",
        allow_negative_numbers = true
    )]
    pub health_start_period: Option<String>,

    /// Time between two tests while failed ones do not count [default: 5s]
    #[arg(
        help_heading = "Health",
        long,
        value_name = "TIME",
        allow_negative_numbers = true
    )]
    pub health_start_interval: Option<String>,

    /// Failed tests in a row until the workload counts as unhealthy [default: 3]
    #[arg(
        help_heading = "Health",
        long,
        value_name = "N",
        allow_negative_numbers = true
    )]
    pub health_retries: Option<String>,

    /// Do not run the image's health check
    #[arg(help_heading = "Health", long, conflicts_with_all = [
        "health_cmd", "health_interval", "health_timeout", "health_start_period", "health_start_interval",
        "health_retries",
    ])]
    pub no_healthcheck: bool,

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
    /// Connect to the output of the workload, pass signals on, and end as it does
    #[arg(short, long)]
    pub attach: bool,

    /// Pass standard input on too, if the VM was made with -i
    #[arg(short, long)]
    pub interactive: bool,

    /// Keys that leave the workload's terminal without ending it [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,

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

/// `update`
#[derive(Debug, Args)]
#[command(
    after_help = "What is not mentioned stays. Connections of a running VM that the new rules refuse are reset \
                  at once; its copies and its later lives have the new rules. A VM that was started with \
                  --network none gets a network with its next start."
)]
pub struct Update {
    /// What the VM may reach from now on: none, public or full
    #[arg(long, value_name = "MODE", alias = "net")]
    pub network: Option<String>,

    /// All rules from now on, as for `run`; `none` for no rules
    #[arg(long, value_name = "RULE")]
    pub egress: Vec<String>,

    /// Bytes a second that pass from now on, as for `run`; `none` for no limit
    #[arg(long, value_name = "RATE")]
    pub network_rate: Option<String>,

    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
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

/// `stats`
#[derive(Debug, Args)]
pub struct Stats {
    /// Look once instead of again and again
    #[arg(long)]
    pub no_stream: bool,

    /// Print this for each, with fields like {{.CPUPerc}}; `table ...` has a heading, `json` is a line of JSON
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,

    /// The VMs; all that run otherwise
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `top`
#[derive(Debug, Args)]
pub struct Top {
    /// The VM
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Options of `ps`, which are refused
    #[arg(hide = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// `completion`
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell: bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub shell: CompletedShell,
}

/// A shell whose lines are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompletedShell {
    // No doc comments: they would become a list of their own on the help screen.
    Bash,
    Zsh,
    Fish,
}
