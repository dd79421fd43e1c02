//! `attach`

use super::at_terminal::{self, Left};
use super::each::naming;
use super::process::{Streams, attend};
use super::tty;
use crate::args;
use crate::detach_keys::DetachKeys;
use crate::exit_code;
use crate::signals::{Recipient, Relay};
use crate::streams::Readers;
use crate::terminal;
use anyhow::Context;
use std::sync::Arc;
use supermachine::{Attachment, Error, Exit, Runtime, Signal, Vm, WindowSize};

/// Connects to the workload of a running VM and stays with it.
pub fn carry_out(args: &args::Attach) -> anyhow::Result<u8> {
    let keys = tty::keys(args.detach_keys.as_deref())?;
    let vm = Runtime::new()?.open_vm(&args.name);
    let vm = naming(&args.name, vm.map_err(Into::into))?;
    let relay = Relay::start().context("cannot receive signals")?;
    let mut attachment = vm.attach()?;
    if args.no_stdin {
        attachment.stdin = None;
    }
    let signals = if args.sig_proxy {
        Signals::Workload
    } else {
        Signals::Ours
    };
    stay(&vm, attachment, (keys, signals), &relay)
}

/// Stays with a workload, whatever its streams are.
pub fn stay(
    vm: &Vm,
    attachment: Attachment,
    (keys, signals): (DetachKeys, Signals),
    relay: &Relay,
) -> anyhow::Result<u8> {
    if !vm.has_terminal() {
        return beside(attachment, signals, relay);
    }
    if attachment.stdin.is_some() {
        tty::require_keyboard()?;
    }
    if let Some(size) = terminal::size() {
        // A program draws its screen again when the size is news to it.
        attachment.resize(WindowSize {
            rows: size.rows.saturating_add(1),
            ..size
        });
    }
    in_front(attachment, keys, relay, vm.name())
}

/// Stays in front of a workload's terminal.
pub fn in_front(
    mut attachment: Attachment,
    keys: DetachKeys,
    relay: &Relay,
    name: &str,
) -> anyhow::Result<u8> {
    let streams = streams(&mut attachment);
    match at_terminal::attend(&Arc::new(attachment), streams, keys, relay)? {
        Left::Ended(code) => Ok(code),
        Left::Detached => Ok(tty::told_to_be_left(name)),
    }
}

fn streams(attachment: &mut Attachment) -> Streams {
    Streams {
        stdin: attachment.stdin.take(),
        output: Readers {
            stdout: attachment.stdout.take(),
            stderr: attachment.stderr.take(),
        },
    }
}

/// Stays with a workload at the end of pipes.
fn beside(mut attachment: Attachment, signals: Signals, relay: &Relay) -> anyhow::Result<u8> {
    let streams = streams(&mut attachment);
    let viewer = Arc::new(Viewer {
        attachment,
        signals,
    });
    attend(&viewer, streams, relay, Viewer::wait)
}

/// Whom signals mean.
#[derive(Debug, Clone, Copy)]
pub enum Signals {
    /// The workload.
    Workload,
    /// This command.
    Ours,
}

/// Somebody who may leave, while the workload goes on.
struct Viewer {
    attachment: Attachment,
    signals: Signals,
}

impl Viewer {
    fn wait(&self) -> Result<Exit, Error> {
        self.attachment.wait()
    }
}

impl Recipient for Viewer {
    fn pass_on(&self, signal: Signal) {
        match self.signals {
            Signals::Workload => self.attachment.signal(signal),
            Signals::Ours => std::process::exit(exit_code::of_signal(signal.number()).into()),
        }
    }

    fn end(&self, signal: Signal) {
        // The second of its kind, or nobody reads our output: that is the end of the viewer, not of what is viewed.
        std::process::exit(exit_code::of_signal(signal.number()).into());
    }
}
