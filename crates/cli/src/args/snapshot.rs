//! Commands about copies of running VMs.

use super::Json;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `snapshot`
#[derive(Debug, Args)]
pub struct Snapshot {
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// What is done with snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Write a running VM down; it goes on
    Create(SnapshotCreate),
    /// List snapshots
    Ls(SnapshotLs),
    /// Print what is known about a snapshot, as JSON
    Inspect(SnapshotNames),
    /// Remove snapshots
    Rm(SnapshotNames),
    /// Read snapshots and compare them with what was written
    Verify(SnapshotNames),
    /// Write a snapshot as one file that another host can import
    Export(SnapshotExport),
    /// Read a snapshot that was exported
    Import(SnapshotImport),
    /// Put a snapshot into a registry
    Push(SnapshotPush),
    /// Fetch a snapshot from a registry
    Pull(SnapshotPull),
}

/// `snapshot create`
#[derive(Debug, Args)]
pub struct SnapshotCreate {
    /// Name of the snapshot; one is made up otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The VM
    #[arg(value_name = "VM")]
    pub vm: String,
}

/// `snapshot ls`
#[derive(Debug, Args)]
pub struct SnapshotLs {
    /// Names only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    #[command(flatten)]
    pub json: Json,
}

/// Commands for one or several snapshots.
#[derive(Debug, Args)]
pub struct SnapshotNames {
    /// The snapshots
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub names: Vec<String>,
}

/// `snapshot export`
#[derive(Debug, Args)]
pub struct SnapshotExport {
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub name: String,

    /// A file that does not exist yet, or - for standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `snapshot import`
#[derive(Debug, Args)]
pub struct SnapshotImport {
    /// Name of the snapshot; the one it was exported under otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `snapshot push`
#[derive(Debug, Args)]
pub struct SnapshotPush {
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub name: String,

    /// Where to: HOST/REPOSITORY[:TAG]
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
}

/// `snapshot pull`
#[derive(Debug, Args)]
pub struct SnapshotPull {
    /// Name of the snapshot; the one it was pushed under otherwise
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Where from: HOST/REPOSITORY[:TAG] or HOST/REPOSITORY@DIGEST
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
}

/// `fork`
#[derive(Debug, Args)]
pub struct Fork {
    /// How many copies
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value = "1",
        allow_negative_numbers = true
    )]
    pub count: String,

    /// The VM
    #[arg(value_name = "NAME")]
    pub name: String,
}
