//! `start`, `restart`, `pause`, `unpause`, `rename`

use super::attach::{self, Signals};
use super::run::launcher;
use super::{each, stop, tty};
use crate::args::{self, Refusal};
use crate::exit_code;
use crate::signals::Relay;
use anyhow::Context;
use supermachine::{MainStdin, Retention, Runtime, VmStatus, detached};

/// Starts VMs that have ended or were created, and prints their names.
pub fn start(args: &args::Start) -> anyhow::Result<u8> {
    let runtime = super::runtime()?;
    if args.attach || args.interactive {
        return start_in_front(&runtime, args);
    }
    each::at_once(&args.names, |name| {
        refuse_paused(&runtime, name)?;
        begin(&runtime, name)
    })
}

fn refuse_paused(runtime: &Runtime, name: &str) -> anyhow::Result<()> {
    match runtime.vm_summary(name)?.status {
        VmStatus::Paused { .. } => Err(refusal(
            &format!("start: the VM {name} is paused"),
            &format!("`supermachine unpause {name}` lets it go on"),
        )
        .into()),
        _ => Ok(()),
    }
}

/// Starts one VM and stays with its workload.
fn start_in_front(runtime: &Runtime, args: &args::Start) -> anyhow::Result<u8> {
    let [name] = &args.names[..] else {
        let message = "start: --attach and --interactive are for one VM";
        return Err(refusal(message, "start the others without, and `attach` to them").into());
    };
    let keys = tty::keys(args.detach_keys.as_deref())?;
    refuse_paused(runtime, name)?;
    let relay = Relay::start().context("cannot receive signals")?;
    let stdin = if args.interactive {
        MainStdin::Stream
    } else {
        MainStdin::Null
    };
    let (vm, attachment) = detached::start_again_attached(runtime, name, stdin, &launcher())?;
    attach::stay(&vm, attachment, (keys, Signals::Workload), &relay)
}

/// Stops VMs, starts them again and prints their names.
pub fn restart(args: &args::Stop) -> anyhow::Result<u8> {
    let (grace, signal) = stop::manner(args)?;
    let runtime = super::runtime()?;
    each::at_once(&args.names, |name| {
        let details = runtime.inspect_vm(name)?;
        if details.retention == Retention::Remove && details.summary.status.is_live() {
            return Err(refusal(
                &format!("restart: the VM {name} is removed when it ends (--rm)"),
                "`supermachine stop` ends it",
            )
            .into());
        }
        stop::end(&runtime, name, signal, grace)?;
        begin(&runtime, name)
    })
}

fn begin(runtime: &Runtime, name: &str) -> anyhow::Result<String> {
    detached::start_again(runtime, name, &launcher())?;
    Ok(name.to_owned())
}

/// Stops the vCPUs of VMs and prints their names.
pub fn pause(args: &args::Names) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    each::at_once(&args.names, |name| {
        runtime.open_vm(name)?.pause()?;
        Ok(name.to_owned())
    })
}

/// Lets paused VMs go on and prints their names.
pub fn unpause(args: &args::Names) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    each::at_once(&args.names, |name| {
        runtime.open_vm(name)?.resume()?;
        Ok(name.to_owned())
    })
}

/// Gives a VM another name.
pub fn rename(args: &args::Rename) -> anyhow::Result<u8> {
    Runtime::new()?.rename_vm(&args.name, &args.to)?;
    Ok(exit_code::SUCCESS)
}

fn refusal(message: &str, hint: &str) -> Refusal {
    Refusal {
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}
