//! `exec`

use super::at_terminal::{self, Left};
use super::each::naming;
use super::process::{Streams, attend};
use super::tty::{self, Tty};
use crate::args;
use crate::environment::{self, Change};
use crate::exit_code;
use crate::signals::Relay;
use crate::streams::Readers;
use anyhow::Context;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use supermachine::{Child, ExecStdin, Runtime, Vm};

/// What is run in a VM, and as whom.
pub struct Process {
    pub command: Vec<OsString>,
    pub variables: Vec<Change>,
    pub user: Option<OsString>,
    pub workdir: Option<OsString>,
    pub stdin: ExecStdin,
    pub tty: Option<Tty>,
}

/// Runs a process in a running VM and stays with it.
pub fn carry_out(mut args: args::Exec) -> anyhow::Result<u8> {
    let tty = tty::resolve(&tty::Words {
        interactive: args.interactive,
        tty: args.tty,
        detach: args.detach,
        keys: args.detach_keys.as_deref(),
    })?;
    let command = args.name_and_command.split_off(1);
    let name = args.name_and_command.pop().unwrap_or_default();
    let process = Process {
        command,
        variables: environment::gather(&args.env_file, &args.env, &|name| std::env::var_os(name))?,
        user: args.user,
        workdir: args.workdir,
        stdin: stdin(args.interactive && !args.detach),
        tty,
    };
    let name = name.to_string_lossy();
    let vm = naming(&name, Runtime::new()?.open_vm(&name).map_err(Into::into))?;
    if args.detach {
        process.start(&vm)?.release()?;
        return Ok(exit_code::SUCCESS);
    }
    let relay = Relay::start().context("cannot receive signals")?;
    process.attended(&vm, &relay)
}

/// Of a process that may be interactive.
pub fn stdin(interactive: bool) -> ExecStdin {
    if interactive {
        ExecStdin::Stream
    } else {
        ExecStdin::Null
    }
}

impl Process {
    /// Starts it.
    fn start(self, vm: &Vm) -> Result<Child, supermachine::Error> {
        let mut process = vm.exec_builder().argv(self.command).stdin(self.stdin);
        for change in self.variables {
            process = match change {
                Change::Set(name, value) => process.env(name, value),
                Change::Remove(name) => process.env_remove(name),
            };
        }
        if let Some(user) = self.user.filter(|user| !user.as_bytes().is_empty()) {
            process = process.user(user);
        }
        if let Some(dir) = self.workdir.filter(|dir| !dir.as_bytes().is_empty()) {
            process = process.cwd(dir);
        }
        if let Some(tty) = &self.tty {
            process = process.tty(tty.size);
        }
        process.spawn()
    }

    /// Runs it and stays with it.
    pub fn attended(self, vm: &Vm, relay: &Relay) -> anyhow::Result<u8> {
        let tty = self.tty.clone();
        let mut child = self.start(vm)?;
        let output = Readers {
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
        };
        let streams = Streams {
            stdin: child.stdin.take(),
            output,
        };
        let child = Arc::new(child);
        let Some(tty) = tty else {
            return attend(&child, streams, relay, Child::wait);
        };
        match at_terminal::attend(&child, streams, tty.keys, relay)? {
            Left::Ended(code) => Ok(code),
            Left::Detached => Ok(tty::told_to_be_left(vm.name())),
        }
    }
}
