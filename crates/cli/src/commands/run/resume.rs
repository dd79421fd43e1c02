//! `run --snapshot`

use super::super::exec::{self, Process};
use super::plan::{network, tty_of};
use super::{foreground, launcher, tell_start};
use crate::args::{self, Refusal};
use crate::environment;
use crate::exit_code;
use crate::output::stdout;
use crate::signals::Relay;
use anyhow::Context;
use supermachine::{MainOutput, Retention, Runtime, Snapshot, VmConfig, detached};

/// Goes on from a snapshot, and stays with the command that was given, or else with the workload.
pub fn carry_out(name: &str, args: args::Run) -> anyhow::Result<u8> {
    refuse_what_says_nothing(&args)?;
    let runtime = super::super::runtime()?;
    let relay = Relay::start().context("cannot receive signals")?;
    let snapshot = runtime.snapshot(name)?;
    let config = network::publish(config(&args)?, &args.network)?;
    if args.detach {
        return background(&runtime, &snapshot, &config, &relay);
    }
    if args.image_and_command.is_empty() {
        if snapshot.info().command.is_empty() {
            let message = format!("run: the snapshot {name} has no workload to stay with");
            return Err(refusal(&message, "give it a COMMAND, or use -d").into());
        }
        let vm = snapshot.start(&config.output(MainOutput::Stream))?;
        return foreground(&runtime, vm, &relay);
    }
    beside(&runtime, &snapshot, &config, args, &relay)
}

/// The workload goes on; the VM ends with the command.
fn beside(
    runtime: &Runtime,
    snapshot: &Snapshot,
    config: &VmConfig,
    args: args::Run,
    relay: &Relay,
) -> anyhow::Result<u8> {
    let tty = tty_of(&args)?;
    let process = Process {
        command: args.image_and_command,
        variables: environment::gather(&args.workload.env_file, &args.workload.env, &|name| {
            std::env::var_os(name)
        })?,
        user: args.workload.user,
        workdir: args.workload.workdir,
        stdin: exec::stdin(args.interactive),
        tty,
    };
    let vm = snapshot.start(config)?;
    tell_start(runtime, &vm);
    let code = match relay.interrupted() {
        Some(code) => Ok(code),
        None => process.attended(&vm, relay),
    };
    vm.kill()?;
    code
}

fn background(
    runtime: &Runtime,
    snapshot: &Snapshot,
    config: &VmConfig,
    relay: &Relay,
) -> anyhow::Result<u8> {
    let vm = detached::start_snapshot(snapshot, config, &launcher())?;
    tell_start(runtime, &vm);
    if let Some(code) = relay.interrupted() {
        runtime.kill_and_remove_vm(vm.id())?;
        return Ok(code);
    }
    stdout::line(vm.name()).map(|()| exit_code::SUCCESS)
}

fn config(args: &args::Run) -> anyhow::Result<VmConfig> {
    let retention = if args.rm {
        Retention::Remove
    } else {
        Retention::Keep
    };
    let mut config = VmConfig::new().retention(retention);
    if let Some(name) = &args.name {
        config = config.name(name);
    }
    if let Some(hostname) = &args.workload.hostname {
        config = config.hostname(hostname);
    }
    config = config.network_alias(args.network.network_alias.clone());
    super::life::apply(config, &args.life)
}

/// Words about a process, where there is none to start.
fn refuse_what_says_nothing(args: &args::Run) -> Result<(), Refusal> {
    let network = &args.network;
    if !network.network.is_empty() || !network.egress.is_empty() || network.network_rate.is_some() {
        return Err(refusal(
            "run: --network, --egress and --network-rate cannot be used with --snapshot: its network is as it was",
            "start the image with them, and snapshot that; or `update` the VM when it runs",
        ));
    }
    if args.detach && !args.image_and_command.is_empty() {
        return Err(refusal(
            "run: -d --snapshot takes no COMMAND",
            "start it with `exec` when the VM runs",
        ));
    }
    let about_a_process = args.interactive
        || args.tty
        || args.workload.user.is_some()
        || args.workload.workdir.is_some()
        || !args.workload.env.is_empty()
        || !args.workload.env_file.is_empty();
    if about_a_process && args.image_and_command.is_empty() {
        return Err(refusal(
            "run: -i, -t, -e, --env-file, -u and -w need a COMMAND with --snapshot: the workload runs already",
            "add a COMMAND",
        ));
    }
    Ok(())
}

fn refusal(message: &str, hint: &str) -> Refusal {
    Refusal {
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}
