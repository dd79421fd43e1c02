//! `snapshot`

use super::{each, transfer};
use crate::args::{self, SnapshotCommand};
use crate::exit_code;
use crate::output::table::Table;
use crate::output::{json, stdout, time, units};
use std::time::SystemTime;
use supermachine::{Runtime, SnapshotInfo};

/// Makes, shows, moves and removes snapshots.
pub fn carry_out(args: &args::Snapshot) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    match &args.command {
        SnapshotCommand::Create(create) => {
            let vm = runtime.open_vm(&create.vm)?;
            let name = create
                .name
                .clone()
                .unwrap_or_else(supermachine::make_up_name);
            stdout::line(vm.snapshot(&name)?.name()).map(|()| exit_code::SUCCESS)
        }
        SnapshotCommand::Ls(ls) => list(&runtime, ls),
        SnapshotCommand::Inspect(inspect) => each::in_turn(&inspect.names, |name| {
            let snapshot = runtime.snapshot(name)?;
            transfer::tell_missing_image(&snapshot);
            Ok(snapshot.manifest().trim_end().to_owned())
        }),
        SnapshotCommand::Rm(rm) => each::in_turn(&rm.names, |name| {
            runtime.remove_snapshot(name)?;
            Ok(name.to_owned())
        }),
        SnapshotCommand::Verify(verify) => each::in_turn(&verify.names, |name| {
            runtime.snapshot(name)?.verify()?;
            Ok(format!("{name}: intact"))
        }),
        SnapshotCommand::Export(export) => transfer::export(&runtime, export),
        SnapshotCommand::Import(import) => transfer::import(&runtime, import),
        SnapshotCommand::Push(push) => transfer::push(&runtime, push),
        SnapshotCommand::Pull(pull) => transfer::pull(&runtime, pull),
    }
}

fn list(runtime: &Runtime, args: &args::SnapshotLs) -> anyhow::Result<u8> {
    let infos = runtime.snapshots()?;
    if args.json.json {
        json::print(&infos)?;
    } else if args.quiet {
        let names: String = infos
            .iter()
            .map(|info| format!("{}\n", info.name))
            .collect();
        stdout::write(names.as_bytes())?;
    } else {
        stdout::write(table(&infos, SystemTime::now()).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

fn table(infos: &[SnapshotInfo], now: SystemTime) -> String {
    let mut table = Table::new(["NAME", "IMAGE", "CREATED", "MEMORY", "SIZE", "BASE"]);
    for info in infos {
        let base = match &info.problem {
            Some(_) => "damaged",
            None => info.base.as_deref().unwrap_or_default(),
        };
        table.row([
            info.name.clone(),
            info.image.clone().unwrap_or_default(),
            time::ago(info.created, now),
            units::size(u64::from(info.memory_mib) << 20),
            units::size(info.bytes),
            base.to_owned(),
        ]);
    }
    table.render()
}
