//! `run`

use clap::{ArgAction, Args};
use std::ffi::OsString;

/// `run`
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "supermachine run [OPTIONS] IMAGE [COMMAND...]\n       supermachine run [OPTIONS] --snapshot SNAPSHOT [COMMAND...]",
    disable_help_flag = true,
    after_help = "IMAGE is a name as Docker resolves it (alpine, ghcr.io/org/app:1.2, name@sha256:...), \
                  oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or rootfs:DIR."
)]
pub struct Run {
    /// Keep standard input open and pass it on
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the workload a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Keys that leave the terminal without ending what runs there [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,

    /// Run in the background and print the VM's name
    #[arg(short, long)]
    pub detach: bool,

    /// Remove the VM when it has ended
    #[arg(long)]
    pub rm: bool,

    /// Name of the VM; one is made up otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// End the workload after this long, like 30s, 5m or 1h; the exit code is 124
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub timeout: Option<String>,

    /// Run the workload under a small init; --init=false makes it PID 1
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_value = "true", default_missing_value = "true", action = ArgAction::Set, hide_possible_values = true)]
    pub init: bool,

    /// Boot a kernel instead of restoring a template
    #[arg(long)]
    pub cold_boot: bool,

    /// Keep the VM for `exec` until it is stopped when its workload cannot be started
    #[arg(long)]
    pub keep_on_failure: bool,

    /// Go on from this snapshot instead of starting an image; COMMAND runs beside its workload
    #[arg(
        long,
        value_name = "SNAPSHOT",
        conflicts_with_all = [
            "entrypoint", "memory", "cpus", "disk_size", "platform", "timeout", "cold_boot", "keep_on_failure",
            "restart", "stop_signal", "stop_timeout", "cidfile", "log_opt", "health_cmd", "health_interval",
            "health_timeout", "health_start_period", "health_start_interval", "health_retries", "no_healthcheck",
            "volume", "mount", "tmpfs", "read_only", "shm_size", "secret", "sysctl", "add_host", "dns", "dns_search", "dns_option",
        ]
    )]
    pub snapshot: Option<String>,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    pub(super) help: Option<bool>,

    #[command(flatten)]
    pub source: super::Source,

    #[command(flatten)]
    pub workload: super::Workload,

    #[command(flatten)]
    pub machine: super::Machine,

    #[command(flatten)]
    pub limits: super::Limits,

    #[command(flatten)]
    pub storage: super::Storage,

    #[command(flatten)]
    pub network: super::Network,

    #[command(flatten)]
    pub life: super::life::Life,

    /// The image, then the words that replace its command
    #[arg(
        required_unless_present = "snapshot",
        trailing_var_arg = true,
        value_name = "IMAGE",
        hide = true
    )]
    pub image_and_command: Vec<OsString>,
}
