//! `warm`

use super::run::Run;
use clap::{ArgAction, Args};
use std::ffi::OsString;

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

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    #[command(flatten)]
    pub source: super::Source,

    #[command(flatten)]
    pub workload: super::Workload,

    #[command(flatten)]
    pub machine: super::Machine,

    #[command(flatten)]
    pub limits: super::Limits,

    #[command(flatten)]
    pub network: super::Network,

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
            interactive: false,
            tty: false,
            detach_keys: None,
            detach: false,
            rm: true,
            name: None,
            timeout: None,
            init: true,
            cold_boot: false,
            keep_on_failure: false,
            snapshot: None,
            help: None,
            source: self.source,
            workload: self.workload,
            machine: self.machine,
            limits: self.limits,
            storage: super::Storage::default(),
            network: self.network,
            life: super::life::Life::default(),
            image_and_command: std::iter::once(self.image).chain(self.command).collect(),
        }
    }
}
