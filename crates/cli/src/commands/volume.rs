//! `volume`

use super::each;
use crate::args::{self, Refusal, VolumeCommand};
use crate::commands::process::refuse;
use crate::exit_code;
use crate::output::table::Table;
use crate::output::{json, stdout, time, units};
use crate::sizes;
use std::time::SystemTime;
use supermachine::{Runtime, VolumeInfo};

/// Makes, shows and removes volumes.
pub fn carry_out(args: &args::Volume) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    match &args.command {
        VolumeCommand::Create(create) => {
            let size = match &create.size {
                Some(text) => {
                    Some(sizes::parse(text).map_err(|error| refuse("--size", text, error))?)
                }
                None => None,
            };
            let name = create
                .name
                .clone()
                .unwrap_or_else(supermachine::make_up_name);
            runtime.create_volume(&name, size)?;
            stdout::line(&name).map(|()| exit_code::SUCCESS)
        }
        VolumeCommand::Ls(ls) => list(&runtime, ls),
        VolumeCommand::Inspect(inspect) => each::in_turn(&inspect.names, |name| {
            Ok(serde_json::to_string_pretty(&runtime.volume(name)?)?)
        }),
        VolumeCommand::Rm(rm) => each::in_turn(&rm.names, |name| {
            runtime.remove_volume(name)?;
            Ok(name.to_owned())
        }),
        VolumeCommand::Prune(prune) => prune_all(&runtime, prune),
    }
}

/// Docker's word without `--all` removes volumes without a name, and there are none of these.
fn prune_all(runtime: &Runtime, args: &args::VolumePrune) -> anyhow::Result<u8> {
    if !args.all {
        return Err(Refusal {
            message: "volume prune: every volume here has a name, and those are left alone"
                .to_owned(),
            hint: Some("`volume prune --all` removes every volume that no VM has".to_owned()),
        }
        .into());
    }
    let unused: Vec<String> = runtime
        .volumes()?
        .into_iter()
        .filter(|volume| volume.vms.is_empty())
        .map(|volume| volume.name)
        .collect();
    if unused.is_empty() {
        return Ok(exit_code::SUCCESS);
    }
    each::in_turn(&unused, |name| {
        runtime.remove_volume(name)?;
        Ok(name.to_owned())
    })
}

fn list(runtime: &Runtime, args: &args::VolumeLs) -> anyhow::Result<u8> {
    let volumes = runtime.volumes()?;
    if args.json.json {
        json::print(&volumes)?;
    } else if args.quiet {
        let names: String = volumes
            .iter()
            .map(|volume| format!("{}\n", volume.name))
            .collect();
        stdout::write(names.as_bytes())?;
    } else {
        stdout::write(table(&volumes, SystemTime::now()).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

fn table(volumes: &[VolumeInfo], now: SystemTime) -> String {
    let mut table = Table::new(["NAME", "SIZE", "USED", "CREATED", "VMS"]);
    for volume in volumes {
        table.row([
            volume.name.clone(),
            units::size(volume.size),
            units::size(volume.used),
            time::ago(volume.created, now),
            volume.vms.join(", "),
        ]);
    }
    table.render()
}
