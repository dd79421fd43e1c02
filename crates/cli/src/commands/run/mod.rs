//! `run`

mod cidfile;
pub mod life;
mod limits;
pub mod plan;
mod resume;
mod storage;

pub use cidfile::CidFile;
pub use plan::Plan;

use super::process::{Streams, attend, refuse};
use super::tty::Tty;
use super::{attach, image};
use crate::args;
use crate::exit_code;
use crate::output::{failure, stdout};
use crate::signals::Relay;
use crate::streams::Readers;
use anyhow::Context;
use plan::Mode;
use std::sync::Arc;
use supermachine::detached::{self, Launcher};
use supermachine::{Image, Notice, Runtime, Vm, VmConfig};

/// Fetches the image if need be, starts a VM, and stays with it unless it is detached.
pub fn carry_out(mut args: args::Run) -> anyhow::Result<u8> {
    if let Some(name) = args.snapshot.take() {
        return resume::carry_out(&name, args);
    }
    let mut plan = Plan::resolve(args)?;
    let cidfile = plan.cidfile.take().map(CidFile::reserve).transpose()?;
    let runtime = super::runtime()?;
    plan::network::check(&runtime, &plan.config)?;
    let relay = Relay::start().context("cannot receive signals")?;
    let Some(image) = image::obtain(&runtime, &plan.image, &relay)? else {
        return Ok(relay.interrupted().unwrap_or(exit_code::OURS));
    };
    relay.remembers();
    match (plan.mode, plan.tty) {
        (Mode::Foreground, Some(tty)) => {
            in_front(&runtime, &image, &plan.config, tty, (cidfile, &relay))
        }
        (Mode::Foreground, None) => {
            let vm = image.start(&plan.config)?;
            cidfile.map_or(Ok(()), |file| file.write(vm.id()))?;
            foreground(&runtime, vm, &relay)
        }
        (Mode::Detached, _) => background(&runtime, &image, &plan.config, (cidfile, &relay)),
    }
}

/// The two halves of a word.
fn pair<'a>(
    flag: &str,
    word: &'a str,
    form: &str,
    separators: &[char],
) -> Result<(&'a str, &'a str), args::Refusal> {
    word.split_once(separators)
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .ok_or_else(|| refuse(flag, word, format!("write it as {form}")))
}

fn foreground(runtime: &Runtime, mut vm: Vm, relay: &Relay) -> anyhow::Result<u8> {
    tell_start(runtime, &vm);
    if let Some(code) = relay.interrupted() {
        vm.kill()?;
        return Ok(code);
    }
    let output = Readers {
        stdout: vm.take_stdout(),
        stderr: vm.take_stderr(),
    };
    let streams = Streams {
        stdin: vm.take_stdin(),
        output,
    };
    let vm = Arc::new(vm);
    let ended = attend(&vm, streams, relay, Vm::wait);
    if let (Err(error), Some(_)) = (&ended, vm.start_failure()) {
        return Ok(kept(&vm, error));
    }
    for warning in vm.warnings()? {
        failure::note(&warning);
    }
    // Nobody else holds it: the threads of the outputs are gone, and the relay has let go.
    match Arc::into_inner(vm).map(Vm::close) {
        Some(Err(error)) if ended.is_ok() => Err(error.into()),
        _ => ended,
    }
}

/// Stays with a VM whose workload could not be started until it is stopped.
fn kept(vm: &Vm, error: &anyhow::Error) -> u8 {
    let code = failure::report(error);
    let name = vm.name();
    failure::note(&format!(
        "the VM {name} is kept: look around with `supermachine exec {name} ...`, end it with `supermachine stop {name}`"
    ));
    vm.wait_gone();
    code
}

fn background(
    runtime: &Runtime,
    image: &Image,
    config: &VmConfig,
    (cidfile, relay): (Option<CidFile>, &Relay),
) -> anyhow::Result<u8> {
    tell_cold_boot(runtime, config);
    let vm = detached::start(image, config, &launcher())?;
    cidfile.map_or(Ok(()), |file| file.write(vm.id()))?;
    tell_start(runtime, &vm);
    if let Some(code) = relay.interrupted() {
        runtime.kill_and_remove_vm(vm.id())?;
        return Ok(code);
    }
    stdout::line(vm.name()).map(|()| exit_code::SUCCESS)
}

/// In front of the workload's terminal. The VM is not ours: whoever leaves the terminal leaves it running.
fn in_front(
    runtime: &Runtime,
    image: &Image,
    config: &VmConfig,
    tty: Tty,
    (cidfile, relay): (Option<CidFile>, &Relay),
) -> anyhow::Result<u8> {
    tell_cold_boot(runtime, config);
    let (vm, attachment) = detached::start_attached(image, config, &launcher())?;
    cidfile.map_or(Ok(()), |file| file.write(vm.id()))?;
    tell_start(runtime, &vm);
    if let Some(code) = relay.interrupted() {
        vm.kill()?;
        return Ok(code);
    }
    let ended = attach::in_front(attachment, tty.keys, relay, vm.name());
    // One that was to be removed has no record anymore.
    for warning in vm.warnings().unwrap_or_default() {
        failure::note(&warning);
    }
    ended
}

/// Says why a start takes longer: nobody hears the supervisor.
fn tell_cold_boot(runtime: &Runtime, config: &VmConfig) {
    if config.boots_from_template()
        && let Err(error @ supermachine::Error::Saved(_)) = runtime.prepare(config)
    {
        let reason = format!("{:#}", anyhow::Error::from(error));
        failure::note(&Notice::ColdBoot { reason }.to_string());
    }
}

/// How a supervisor of its own is started. Not by the path of the program: it may be replaced while we run, by an
/// upgrade.
pub fn launcher() -> Launcher {
    Launcher {
        program: "/proc/self/exe".into(),
        args: vec!["supervise".into()],
    }
}

fn tell_start(runtime: &Runtime, vm: &Vm) {
    let record = runtime.home().join("vms").join(vm.name());
    tracing::info!(name = vm.name(), logs = %record.display(), "the VM runs; console.log and vmm.log are in its record");
    if let Some(timings) = vm.timings() {
        tracing::debug!(?timings, "started");
    }
}
