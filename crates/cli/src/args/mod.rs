//! The command line as it was written, before anything in it is understood.

mod cp;
mod groups;
mod image;
mod life;
mod limits;
mod network;
mod networks;
mod refusal;
mod run;
mod snapshot;
mod storage;
mod unbuilt;
mod vm;
mod warm;
mod workload;

pub use cp::Cp;
pub use image::{Df, Images, Prune, Pull, Rmi};
pub use life::{
    CompletedShell, Completion, Create, Inspect, Life, Names, Rename, Start, Stats, Top, Update,
};
pub use limits::Limits;
pub use network::Network;
pub use networks::{NetworkCommand, NetworkLs, Networks};
pub use refusal::{Refusal, describe};
pub use run::Run;
pub use snapshot::{
    Fork, Snapshot, SnapshotCommand, SnapshotExport, SnapshotImport, SnapshotLs, SnapshotPull,
    SnapshotPush,
};
pub use storage::{Storage, Volume, VolumeCommand, VolumeLs, VolumePrune};
pub use vm::{Attach, Exec, Kill, Logs, Port, Ps, Rm, Stop, Wait};
pub use warm::Warm;
pub use workload::{Machine, PullPolicy, Source, Workload};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// Any OCI image as a hardware-isolated microVM
///
/// Words and exit codes are Docker's: a command ends with the exit code of its workload, 125 when
/// supermachine itself failed, 126 when the program cannot be run, 127 when it does not exist,
/// 128+n when signal n killed it, and 124 when --timeout ended it.
#[derive(Debug, Parser)]
#[command(
    name = "supermachine",
    version,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Line {
    /// Tell what is done, on standard error, and where the logs of the VMM are
    #[arg(long, global = true, display_order = 100)]
    pub debug: bool,

    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command of an image in a new VM
    Run(Box<Run>),
    /// Make a VM that is started later
    Create(Box<Create>),
    /// Start VMs that have ended or were created
    Start(Start),
    /// Stop VMs and start them again
    Restart(Stop),
    /// Run a command in a running VM
    Exec(Exec),
    /// Copy files and trees into a VM or out of one
    Cp(Cp),
    /// Connect to the workload of a running VM
    Attach(Attach),
    /// List VMs
    Ps(Ps),
    /// Print what is known about VMs, as JSON
    Inspect(Inspect),
    /// Print where the ports of a VM are published
    Port(Port),
    /// Print what a VM's workload wrote
    Logs(Logs),
    /// Show what VMs use
    Stats(Stats),
    /// List the processes in a VM
    Top(Top),
    /// Ask workloads to end, and kill those that do not
    Stop(Stop),
    /// Stop the virtual CPUs of VMs
    Pause(Names),
    /// Let paused VMs go on
    Unpause(Names),
    /// Give a VM another name
    Rename(Rename),
    /// Change what VMs may reach, while they run too
    Update(Update),
    /// Send a signal to workloads, KILL unless told otherwise
    Kill(Kill),
    /// Wait until workloads have ended and print their exit codes
    Wait(Wait),
    /// Remove VMs that have ended, with their logs and disks
    Rm(Rm),
    /// Copy a running VM, memory and disk and all, and print the names of the copies
    Fork(Fork),
    /// Write running VMs down, to go on from there any number of times
    Snapshot(Snapshot),
    /// Start an image's workload, and write it down when it is ready, to go on from there
    Warm(Box<Warm>),
    /// Fetch an image into the store
    Pull(Pull),
    /// List the images of the store
    Images(Images),
    /// Remove images from the store
    Rmi(Rmi),
    /// Make, show and remove volumes
    Volume(Volume),
    /// Make, show and remove networks on which VMs find each other
    Network(Networks),
    /// Remove what no image and no VM needs
    Prune(Prune),
    /// Show what takes up space
    Df(Df),
    /// Install the VMM and guest kernels for programs that embed the library
    Setup(Setup),
    /// Check whether this host can run VMs
    Doctor(Doctor),
    /// Print a script that completes our words in a shell
    Completion(Completion),
    /// Print the release
    Version(Version),
    /// The process behind `run -d`
    #[command(hide = true)]
    Supervise,
}

/// `setup`
#[derive(Debug, Args)]
pub struct Setup {
    #[command(flatten)]
    pub json: Json,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub json: Json,
}

/// `version`
#[derive(Debug, Args)]
pub struct Version {
    #[command(flatten)]
    pub json: Json,
}

/// How a list is printed.
#[derive(Debug, Args)]
pub struct Json {
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// A command.
    Line(Line),
    /// Help or the version, to be printed on standard output.
    Text(String),
}

/// Reads a command line, the program's name first.
pub fn parse(words: &[OsString]) -> Result<Parsed, Refusal> {
    parse_by(groups::group(Line::command()), words)
}

fn parse_by(mut grammar: clap::Command, words: &[OsString]) -> Result<Parsed, Refusal> {
    if words.len() < 2 {
        // As Docker does: a program without a command shows what it knows.
        return Ok(Parsed::Text(grammar.render_help().to_string()));
    }
    let parsed = grammar.try_get_matches_from_mut(words).and_then(|matches| {
        Line::from_arg_matches(&matches).map_err(|error| error.format(&mut grammar))
    });
    match parsed {
        Ok(line) => Ok(Parsed::Line(line)),
        Err(error) if !error.use_stderr() => Ok(Parsed::Text(error.render().to_string())),
        Err(error) => Err(describe(&error, words)),
    }
}

#[cfg(test)]
mod tests;
