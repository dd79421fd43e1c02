//! What `run` has to say about mounts and secrets, and `volume`.

use super::Json;
use clap::{Args, Subcommand};
use std::ffi::OsString;

/// Mounts and secrets of a VM.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Files")]
pub struct Storage {
    /// Mount a volume; it is made if there is none of this name
    #[arg(short, long, value_name = "NAME:PATH[:ro]")]
    pub volume: Vec<OsString>,

    /// Mount a volume or a tmpfs, like type=volume,src=NAME,dst=PATH
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub mount: Vec<String>,

    /// Mount a tmpfs, with options like size=64m,mode=1777,exec
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub tmpfs: Vec<OsString>,

    /// Let the workload write to mounts only, /tmp and /run among them
    #[arg(long)]
    pub read_only: bool,

    /// Size of /dev/shm [default: 64M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub shm_size: Option<String>,

    /// A file under /run/secrets, from file:PATH or env:VARIABLE; kept nowhere
    #[arg(long, value_name = "NAME=SOURCE")]
    pub secret: Vec<String>,
}

/// `volume`
#[derive(Debug, Args)]
pub struct Volume {
    #[command(subcommand)]
    pub command: VolumeCommand,
}

/// What is done with volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make a volume and print its name
    Create(VolumeCreate),
    /// List volumes
    Ls(VolumeLs),
    /// Print what is known about volumes, as JSON
    Inspect(VolumeNames),
    /// Remove volumes that no VM has, with everything in them
    Rm(VolumeNames),
    /// Remove every volume that no VM has, with everything in them
    Prune(VolumePrune),
}

/// `volume create`
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct VolumeCreate {
    /// The most it can hold; it takes up what is written to it [default: 10G]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub size: Option<String>,

    /// Name of the volume; one is made up otherwise
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
}

/// `volume ls`
#[derive(Debug, Args)]
pub struct VolumeLs {
    /// Names only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    #[command(flatten)]
    pub json: Json,
}

/// Commands for one or several volumes.
#[derive(Debug, Args)]
pub struct VolumeNames {
    /// The volumes
    #[arg(required = true, value_name = "VOLUME")]
    pub names: Vec<String>,
}

/// `volume prune`
#[derive(Debug, Args)]
pub struct VolumePrune {
    /// Those with names too, as all are here
    #[arg(short, long)]
    pub all: bool,
}
