//! Commands about VMs that exist.

use super::Json;
use clap::{ArgAction, Args};
use std::ffi::OsString;
use std::path::PathBuf;

/// `exec`
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "supermachine exec [OPTIONS] NAME COMMAND..."
)]
pub struct Exec {
    /// Keep standard input open and pass it on
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Start the command and leave it
    #[arg(short, long)]
    pub detach: bool,

    /// Keys that leave a command's terminal without ending it [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,

    /// Set a variable; without a value, pass on our own
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<OsString>,

    /// Read variables from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,

    /// Run as this user or uid, and group or gid
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<OsString>,

    /// Run in this directory; it is made if missing
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<OsString>,

    /// The VM, then the program and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["NAME", "COMMAND"], hide = true)]
    pub name_and_command: Vec<OsString>,
}

/// `attach`
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Attach {
    /// Keys that leave the workload's terminal without ending it [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,

    /// Pass no input on
    #[arg(long)]
    pub no_stdin: bool,

    /// Pass signals on to a workload without a terminal
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value = "true", default_missing_value = "true", action = ArgAction::Set, hide_possible_values = true)]
    pub sig_proxy: bool,

    /// The VM
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `ps`
#[derive(Debug, Args)]
pub struct Ps {
    /// Those that have ended too
    #[arg(short, long)]
    pub all: bool,

    /// Names only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Those that match only: name=, id=, label=KEY[=VALUE], status=, health=, ancestor=IMAGE, exited=CODE
    #[arg(short, long, value_name = "KIND=VALUE")]
    pub filter: Vec<String>,

    /// Print this for each, with fields like {{.Names}}; `table ...` has a heading, `json` is a line of JSON
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "quiet"])]
    pub format: Option<String>,

    /// The last N, whether they run or not
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,

    /// The last one, whether it runs or not
    #[arg(short, long, conflicts_with = "last")]
    pub latest: bool,

    /// Do not shorten columns
    #[arg(long)]
    pub no_trunc: bool,

    #[command(flatten)]
    pub json: Json,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Wait for more until the VM has ended
    #[arg(short, long)]
    pub follow: bool,

    /// Lines since this time only: 10m (ago), 2024-02-29T12:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,

    /// Lines until this time only
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,

    /// The last so many lines only, or all
    #[arg(short = 'n', long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<String>,

    /// Put the time in front of each line
    #[arg(short, long)]
    pub timestamps: bool,

    /// The VM
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `stop` and `restart`
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Stop {
    /// How long to wait before killing, in seconds or like 5m [default: what the VM was started with, 10 s]
    #[arg(
        short,
        long,
        alias = "timeout",
        value_name = "TIME",
        allow_negative_numbers = true
    )]
    pub time: Option<String>,

    /// Send this signal instead of the image's
    #[arg(short, long, value_name = "SIGNAL", allow_negative_numbers = true)]
    pub signal: Option<String>,

    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `kill`
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct Kill {
    /// Signal to send, by name or number
    #[arg(
        short,
        long,
        value_name = "SIGNAL",
        default_value = "KILL",
        allow_negative_numbers = true
    )]
    pub signal: String,

    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `wait`
#[derive(Debug, Args)]
pub struct Wait {
    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `rm`
#[derive(Debug, Args)]
pub struct Rm {
    /// Kill those that run first
    #[arg(short, long)]
    pub force: bool,

    /// The VMs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `port`
#[derive(Debug, Args)]
pub struct Port {
    /// The VM
    #[arg(value_name = "NAME")]
    pub name: String,

    /// A port inside, like 80 or 53/udp
    #[arg(value_name = "PORT[/udp]")]
    pub port: Option<String>,
}
