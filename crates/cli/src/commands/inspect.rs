//! `inspect`

use super::each::naming;
use super::wait::of_status;
use crate::args;
use crate::exit_code;
use crate::output::failure::{self, Silent};
use crate::output::template::Template;
use crate::output::{json, stdout};
use serde_json::{Value, json};
use std::time::SystemTime;
use supermachine::{
    Health, HealthStatus, NetworkMode, Probe, RestartPolicy, Retention, Runtime, VmDetails,
    VmStatus, rfc3339,
};

/// What Docker shows for a moment that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Prints what is known about VMs: a JSON list, or what a template makes of each.
pub fn carry_out(args: &args::Inspect) -> anyhow::Result<u8> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let runtime = Runtime::new()?;
    let mut worst = None;
    let mut found = Vec::new();
    for name in &args.names {
        match naming(name, runtime.inspect_vm(name).map_err(Into::into)) {
            Ok(details) => found.push(document(&details)),
            Err(error) => worst = Some(failure::report(&error)),
        }
    }
    match template {
        None => json::print(&found)?,
        Some(template) => {
            for document in &found {
                stdout::line(&template.render(document)?)?;
            }
        }
    }
    worst.map_or(Ok(exit_code::SUCCESS), |code| Err(Silent(code).into()))
}

/// The fields are Docker's, with its meanings; those it has and we do not are absent.
fn document(vm: &VmDetails) -> Value {
    let summary = &vm.summary;
    json!({
        "Id": summary.id,
        "Created": rfc3339(summary.created),
        "Path": summary.command.first().cloned().unwrap_or_default(),
        "Args": summary.command.iter().skip(1).collect::<Vec<_>>(),
        "State": state(vm),
        "Image": summary.image_digest,
        "Name": format!("/{}", summary.name),
        "RestartCount": summary.restarts,
        "Platform": "linux",
        "LogPath": vm.directory.join("log"),
        "HostnamePath": "",
        "HostConfig": host_config(vm),
        "NetworkSettings": network_settings(vm),
        "Config": config(vm),
        "Warnings": summary.warnings,
        "Directory": vm.directory,
        "Disk": { "Path": vm.disk, "Size": vm.disk_size },
    })
}

fn state(vm: &VmDetails) -> Value {
    let status = &vm.summary.status;
    let is_live = status.is_live();
    let time = |at: Option<SystemTime>| at.map_or_else(|| NEVER.to_owned(), rfc3339);
    let error = match status {
        VmStatus::Failed { message, .. } => message.as_str(),
        VmStatus::Crashed => "its supervisor was killed",
        _ => "",
    };
    let (timed_out, out_of_memory) = match status {
        VmStatus::Exited { exit, .. } => (exit.timed_out, exit.out_of_memory),
        _ => (false, false),
    };
    let mut state = json!({
        "Status": word(status),
        "Running": is_live,
        "Paused": matches!(status, VmStatus::Paused { .. }),
        "Restarting": matches!(status, VmStatus::Restarting { .. }),
        "OOMKilled": out_of_memory,
        "TimedOut": timed_out,
        "Dead": false,
        "Pid": if is_live { vm.supervisor_pid } else { 0 },
        "ExitCode": of_status(status).unwrap_or(0),
        "Error": error,
        "StartedAt": time(vm.started),
        "FinishedAt": time(vm.finished),
    });
    if let Some(health) = &vm.health {
        state["Health"] = self::health(health);
    }
    state
}

fn health(health: &Health) -> Value {
    let probe = |probe: &Probe| {
        json!({
            "Start": probe.start,
            "End": probe.end,
            "ExitCode": probe.exit_code,
            "Output": probe.output,
        })
    };
    json!({
        "Status": health_word(health.status),
        "FailingStreak": health.failing_streak,
        "Log": health.probes.iter().map(probe).collect::<Vec<_>>(),
    })
}

/// Docker's word for how a workload is.
pub const fn health_word(status: HealthStatus) -> &'static str {
    match status {
        HealthStatus::Starting => "starting",
        HealthStatus::Healthy => "healthy",
        HealthStatus::Unhealthy => "unhealthy",
    }
}

/// Docker's word for a state. What ended without an exit of its workload has exited too.
pub fn word(status: &VmStatus) -> &'static str {
    match status {
        VmStatus::Created => "created",
        VmStatus::Starting | VmStatus::Running { .. } => "running",
        VmStatus::Paused { .. } => "paused",
        VmStatus::Restarting { .. } => "restarting",
        _ => "exited",
    }
}

fn host_config(vm: &VmDetails) -> Value {
    let (policy, most) = match vm.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure { most } => ("on-failure", most.unwrap_or(0)),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    json!({
        "AutoRemove": vm.retention == Retention::Remove,
        "Init": vm.init,
        "NetworkMode": network_word(&vm.network),
        "NetworkRate": {
            "Up": vm.network_limits.up,
            "Down": vm.network_limits.down,
            "Packets": vm.network_limits.packets,
        },
        "Egress": vm.egress.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Memory": vm.summary.memory,
        "NanoCpus": u64::from(vm.summary.cpus) * 1_000_000_000,
        "CpuCount": vm.summary.cpus,
        "RestartPolicy": { "Name": policy, "MaximumRetryCount": most },
    })
}

/// The word that `--network` takes.
fn network_word(network: &NetworkMode) -> &str {
    match network {
        NetworkMode::None => "none",
        NetworkMode::Public => "public",
        NetworkMode::Full => "full",
        NetworkMode::Named(name) => name,
    }
}

fn network_settings(vm: &VmDetails) -> Value {
    let address = vm.address.map(|address| address.to_string());
    let address = address.unwrap_or_default();
    let endpoint = json!({ "IPAddress": address, "Aliases": vm.network_aliases });
    json!({
        "IPAddress": address,
        "Networks": { (network_word(&vm.network)): endpoint },
    })
}

fn config(vm: &VmDetails) -> Value {
    json!({
        "Hostname": vm.hostname,
        "User": vm.user,
        "Env": vm.env,
        "Cmd": vm.summary.command,
        "Image": vm.summary.image,
        "WorkingDir": vm.workdir,
        "Labels": vm.summary.labels,
        "StopSignal": vm.stop_signal.to_string(),
        "StopTimeout": vm.stop_grace.as_secs(),
    })
}
