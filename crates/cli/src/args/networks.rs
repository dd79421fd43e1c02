//! `network`

use super::Json;
use clap::{Args, Subcommand};

/// `network`
#[derive(Debug, Args)]
pub struct Networks {
    #[command(subcommand)]
    pub command: NetworkCommand,
}

/// What is done with networks.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network and print its name; `run --network NAME` puts VMs on it
    Create(NetworkName),
    /// List networks
    Ls(NetworkLs),
    /// Print what is known about networks, as JSON
    Inspect(NetworkNames),
    /// Remove networks that no VM is on
    Rm(NetworkNames),
    /// Remove every network that no VM is on
    Prune(NetworkPrune),
}

/// `network create`
#[derive(Debug, Args)]
pub struct NetworkName {
    /// Name of the network
    #[arg(value_name = "NETWORK")]
    pub name: String,
}

/// `network ls`
#[derive(Debug, Args)]
pub struct NetworkLs {
    /// Names only
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    #[command(flatten)]
    pub json: Json,
}

/// Commands for one or several networks.
#[derive(Debug, Args)]
pub struct NetworkNames {
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    pub names: Vec<String>,
}

/// `network prune`
#[derive(Debug, Args)]
pub struct NetworkPrune {
    /// Do not ask, which is never done
    #[arg(short, long)]
    pub force: bool,
}
