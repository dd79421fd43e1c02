//! `ps`

mod filter;
mod format;

use super::inspect::health_word;
use super::wait::of_status;
use crate::args;
use crate::exit_code;
use crate::output::table::{Table, shortened};
use crate::output::{json, stdout, time};
use filter::Filters;
use format::Format;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;
use supermachine::{
    ExitStatus, HealthStatus, PortMapping, Runtime, Signal, VmStatus, VmSummary, rfc3339,
};

/// Characters of a column that may be long.
const WIDTH: usize = 36;

/// Lists VMs.
pub fn carry_out(args: &args::Ps) -> anyhow::Result<u8> {
    let filters = Filters::parse(&args.filter)?;
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let last = args.last.or(args.latest.then_some(1));
    let mut vms: Vec<_> = Runtime::new()?.vms()?.into_iter().map(Row::from).collect();
    let all = args.all || last.is_some() || filters.want_ended();
    vms.retain(|vm| (all || vm.status.is_live()) && filters.match_row(vm));
    if let Some(last) = last {
        vms.drain(..vms.len().saturating_sub(last));
    }
    if let Some(format) = format {
        stdout::write(format.render(&vms, SystemTime::now())?.as_bytes())?;
    } else if args.json.json {
        json::print(&vms.iter().map(Json::from).collect::<Vec<_>>())?;
    } else if args.quiet {
        stdout::write(
            vms.iter()
                .map(|vm| format!("{}\n", vm.name))
                .collect::<String>()
                .as_bytes(),
        )?;
    } else {
        let widths = if args.no_trunc { usize::MAX } else { WIDTH };
        stdout::write(table(&vms, widths, SystemTime::now()).as_bytes())?;
    }
    Ok(exit_code::SUCCESS)
}

/// What is shown of a VM.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    id: String,
    image: String,
    image_digest: String,
    command: Vec<String>,
    created: SystemTime,
    status: VmStatus,
    memory: u64,
    cpus: u8,
    ports: Vec<PortMapping>,
    warnings: Vec<String>,
    labels: BTreeMap<String, String>,
    restarts: u32,
    health: Option<HealthStatus>,
}

impl From<VmSummary> for Row {
    fn from(vm: VmSummary) -> Self {
        Self {
            name: vm.name,
            id: vm.id,
            image: vm.image,
            image_digest: vm.image_digest,
            command: vm.command,
            created: vm.created,
            status: vm.status,
            memory: vm.memory,
            cpus: vm.cpus,
            ports: vm.ports,
            warnings: vm.warnings,
            labels: vm.labels,
            restarts: vm.restarts,
            health: vm.health,
        }
    }
}

/// The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    id: &'a str,
    image: &'a str,
    image_digest: &'a str,
    command: &'a [String],
    created: String,
    /// `created`, `starting`, `running`, `paused`, `restarting`, `exited`, `stopped`, `failed` or `crashed`.
    state: &'static str,
    started: Option<String>,
    ended: Option<String>,
    exit_code: Option<i32>,
    timed_out: bool,
    out_of_memory: bool,
    error: Option<&'a str>,
    memory: u64,
    cpus: u8,
    ports: Vec<String>,
    warnings: &'a [String],
    labels: &'a BTreeMap<String, String>,
    restarts: u32,
    /// `starting`, `healthy` or `unhealthy`, where there is a health check and it runs.
    health: Option<&'static str>,
}

impl<'a> From<&'a Row> for Json<'a> {
    fn from(vm: &'a Row) -> Self {
        let mut json = Self {
            name: &vm.name,
            id: &vm.id,
            image: &vm.image,
            image_digest: &vm.image_digest,
            command: &vm.command,
            created: rfc3339(vm.created),
            state: state(&vm.status),
            started: None,
            ended: None,
            exit_code: of_status(&vm.status),
            timed_out: false,
            out_of_memory: false,
            error: None,
            memory: vm.memory,
            cpus: vm.cpus,
            ports: vm.ports.iter().map(ToString::to_string).collect(),
            warnings: &vm.warnings,
            labels: &vm.labels,
            restarts: vm.restarts,
            health: vm.health.filter(|_| vm.status.is_live()).map(health_word),
        };
        match &vm.status {
            VmStatus::Running { since } | VmStatus::Paused { since } => {
                json.started = Some(rfc3339(*since));
            }
            VmStatus::Restarting { at, .. } => json.ended = Some(rfc3339(*at)),
            VmStatus::Exited { exit, at } => {
                json.ended = Some(rfc3339(*at));
                (json.timed_out, json.out_of_memory) = (exit.timed_out, exit.out_of_memory);
            }
            VmStatus::Stopped { at } => json.ended = Some(rfc3339(*at)),
            VmStatus::Failed { message, at } => {
                (json.ended, json.error) = (Some(rfc3339(*at)), Some(message.as_str()));
            }
            _ => {}
        }
        json
    }
}

const fn state(status: &VmStatus) -> &'static str {
    match status {
        VmStatus::Created => "created",
        VmStatus::Paused { .. } => "paused",
        VmStatus::Restarting { .. } => "restarting",
        VmStatus::Starting => "starting",
        VmStatus::Running { .. } => "running",
        VmStatus::Exited { .. } => "exited",
        VmStatus::Stopped { .. } => "stopped",
        VmStatus::Failed { .. } => "failed",
        VmStatus::Crashed => "crashed",
        _ => "unknown",
    }
}

fn table(vms: &[Row], width: usize, now: SystemTime) -> String {
    let mut table = Table::new(["NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS"]);
    for vm in vms {
        table.row([
            vm.name.clone(),
            shortened(&vm.image, width),
            shortened(&vm.command.join(" "), width),
            time::ago(vm.created, now),
            shortened(&status(vm, now), width.saturating_mul(2)),
            ports(vm),
        ]);
    }
    table.render()
}

fn up(since: SystemTime, now: SystemTime) -> String {
    format!("Up {}", time::rough(time::since(since, now)))
}

/// Where the ports of a VM that runs are; nobody listens for another.
fn ports(vm: &Row) -> String {
    let shown = vm.ports.iter().filter(|_| vm.status.is_live());
    let shown: Vec<String> = shown.map(ToString::to_string).collect();
    shown.join(", ")
}

fn status(vm: &Row, now: SystemTime) -> String {
    let text = status_of(&vm.status, now);
    match (&vm.status, vm.health) {
        (VmStatus::Running { .. }, Some(HealthStatus::Starting)) => {
            format!("{text} (health: starting)")
        }
        (VmStatus::Running { .. }, Some(health)) => format!("{text} ({})", health_word(health)),
        _ => text,
    }
}

fn status_of(status: &VmStatus, now: SystemTime) -> String {
    match status {
        VmStatus::Starting => "Starting".to_owned(),
        VmStatus::Created => "Created".to_owned(),
        VmStatus::Running { since } => up(*since, now),
        VmStatus::Paused { since } => format!("{} (Paused)", up(*since, now)),
        VmStatus::Restarting { exit_code, at } => {
            format!("Restarting ({exit_code}) {}", time::ago(*at, now))
        }
        VmStatus::Exited { exit, at } => {
            let end = match exit.status {
                _ if exit.timed_out => "Timed out".to_owned(),
                _ if exit.out_of_memory => "Out of memory".to_owned(),
                ExitStatus::Code(code) => format!("Exited ({code})"),
                ExitStatus::Signal(number) => match Signal::try_from(number) {
                    Ok(signal) => format!("Killed ({signal})"),
                    Err(_) => format!("Killed ({number})"),
                },
            };
            format!("{end} {}", time::ago(*at, now))
        }
        VmStatus::Stopped { at } => format!("Stopped {}", time::ago(*at, now)),
        VmStatus::Failed { message, at } => format!("Failed {}: {message}", time::ago(*at, now)),
        VmStatus::Crashed => "Crashed".to_owned(),
        _ => "Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests;
