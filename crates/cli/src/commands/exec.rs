//! `exec`

use super::each::naming;
use super::process::{Streams, attend};
use crate::args;
use crate::environment;
use crate::signals::Relay;
use crate::streams::Readers;
use anyhow::Context;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use supermachine::{Child, ExecStdin, Runtime};

/// Runs a process in a running VM and stays with it.
pub fn carry_out(mut args: args::Exec) -> anyhow::Result<u8> {
    let command = args.name_and_command.split_off(1);
    let name = args.name_and_command.pop().unwrap_or_default();
    let variables = environment::gather(&[], &args.env, &|name| std::env::var_os(name))?;
    let name = name.to_string_lossy();
    let vm = naming(&name, Runtime::new()?.open_vm(&name).map_err(Into::into))?;
    let relay = Relay::start().context("cannot receive signals")?;

    let mut process = vm.exec_builder().argv(command);
    for (name, value) in variables {
        process = process.env(name, value);
    }
    if let Some(user) = args.user.filter(|user| !user.as_bytes().is_empty()) {
        process = process.user(user);
    }
    if let Some(dir) = args.workdir.filter(|dir| !dir.as_bytes().is_empty()) {
        process = process.cwd(dir);
    }
    if args.interactive {
        process = process.stdin(ExecStdin::Stream);
    }
    let mut child = process.spawn()?;
    let output = Readers {
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
    };
    let streams = Streams {
        stdin: child.stdin.take(),
        output,
    };
    attend(&Arc::new(child), streams, &relay, Child::wait)
}
