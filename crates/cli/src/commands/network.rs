//! `network`

use super::each;
use crate::args::{self, NetworkCommand};
use crate::exit_code;
use crate::output::table::Table;
use crate::output::{json, stdout, time};
use std::time::SystemTime;
use supermachine::{NetworkInfo, Runtime};

/// Makes, shows and removes networks.
pub fn carry_out(args: &args::Networks) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    match &args.command {
        NetworkCommand::Create(create) => {
            runtime.create_network(&create.name)?;
            stdout::line(&create.name).map(|()| exit_code::SUCCESS)
        }
        NetworkCommand::Ls(ls) => list(&runtime, ls),
        NetworkCommand::Inspect(inspect) => each::in_turn(&inspect.names, |name| {
            Ok(serde_json::to_string_pretty(&runtime.network(name)?)?)
        }),
        NetworkCommand::Rm(rm) => remove(&runtime, &rm.names),
        // Nothing is lost with one: it is made again as it was.
        NetworkCommand::Prune(_) => {
            let unused = runtime.networks()?.into_iter();
            let unused = unused.filter(|network| network.members.is_empty());
            let unused: Vec<String> = unused.map(|network| network.name).collect();
            match unused.is_empty() {
                true => Ok(exit_code::SUCCESS),
                false => remove(&runtime, &unused),
            }
        }
    }
}

fn remove(runtime: &Runtime, names: &[String]) -> anyhow::Result<u8> {
    each::in_turn(names, |name| {
        runtime.remove_network(name)?;
        Ok(name.to_owned())
    })
}

fn list(runtime: &Runtime, args: &args::NetworkLs) -> anyhow::Result<u8> {
    let networks = runtime.networks()?;
    if args.json.json {
        json::print(&networks)?;
    } else if args.quiet {
        let names = networks.iter().map(|network| format!("{}\n", network.name));
        stdout::write(names.collect::<String>().as_bytes())?;
    } else {
        stdout::write(table(&networks, SystemTime::now()).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

fn table(networks: &[NetworkInfo], now: SystemTime) -> String {
    let mut table = Table::new(["NAME", "SUBNET", "CREATED", "VMS"]);
    for network in networks {
        let members = network.members.iter();
        let names: Vec<&str> = members.map(|member| member.name.as_str()).collect();
        table.row([
            network.name.clone(),
            network.subnet.clone(),
            time::ago(network.created, now),
            names.join(", "),
        ]);
    }
    table.render()
}
