//! `warm`

use super::run::{PullPolicy, Run};
use clap::{ArgAction, Args};
use std::ffi::OsString;
use std::path::PathBuf;

/// `warm`
#[derive(Debug, Args)]
#[command(
    args_override_self = true,
    override_usage = "supermachine warm [OPTIONS] IMAGE --ready CONDITION [-- COMMAND...]",
    disable_help_flag = true,
    after_help = "CONDITION is one of\n  \
                  listen:PORT   something in the VM listens on this TCP port\n  \
                  file:PATH     this path exists in the VM\n  \
                  exec:COMMAND  this command ends with exit code 0; /bin/sh runs it if it needs a shell\n  \
                  log:REGEX     a line of the workload's output has a match\n\n\
                  `supermachine run --snapshot NAME` goes on from there. COMMAND replaces the image's, as with run."
)]
pub struct Warm {
    /// What shows that the workload is ready
    #[arg(long, value_name = "CONDITION")]
    pub ready: String,

    /// How long the workload may take to be ready, like 30s or 5m
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        allow_negative_numbers = true
    )]
    pub timeout: String,

    /// Name of the snapshot; one is made of the image's otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

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

    /// Memory of the workload, like 512M or 2G [default: 512M]
    #[arg(short, long, value_name = "SIZE", allow_negative_numbers = true)]
    pub memory: Option<String>,

    /// Number of virtual CPUs [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub cpus: Option<String>,

    /// Size of the writable disk [default: 10G]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub disk_size: Option<String>,

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

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// The image
    #[arg(value_name = "IMAGE", hide = true)]
    pub image: OsString,

    /// The words that replace the image's command
    #[arg(last = true, value_name = "COMMAND", hide = true)]
    pub command: Vec<OsString>,
}

impl Warm {
    /// The `run` that starts the workload.
    pub fn into_run(self) -> Run {
        Run {
            storage: super::Storage::default(),
            interactive: false,
            tty: false,
            detach_keys: None,
            detach: false,
            rm: true,
            name: None,
            env: self.env,
            env_file: self.env_file,
            user: self.user,
            workdir: self.workdir,
            hostname: self.hostname,
            entrypoint: self.entrypoint,
            memory: self.memory,
            cpus: self.cpus,
            disk_size: self.disk_size,
            network: None,
            publish: Vec::new(),
            egress: Vec::new(),
            pull: self.pull,
            platform: self.platform,
            timeout: None,
            init: true,
            cold_boot: false,
            keep_on_failure: false,
            snapshot: None,
            life: super::life::Life::default(),
            limits: super::limits::Limits::default(),
            help: None,
            image_and_command: std::iter::once(self.image).chain(self.command).collect(),
        }
    }
}
