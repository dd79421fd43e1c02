//! `stop`

use super::each;
use super::process::refuse;
use crate::args;
use crate::durations;
use std::time::Duration;
use supermachine::{Runtime, Signal};

/// Asks workloads to end, kills those that do not, and prints the names of what has ended.
pub fn carry_out(args: &args::Stop) -> anyhow::Result<u8> {
    let (grace, signal) = manner(args)?;
    let runtime = Runtime::new()?;
    each::at_once(&args.names, |name| end(&runtime, name, signal, grace))
}

/// How long to wait, and which signal to send, where that was said.
pub fn manner(args: &args::Stop) -> anyhow::Result<(Option<Duration>, Option<Signal>)> {
    let grace = args
        .time
        .as_ref()
        .map(|text| durations::parse(text).map_err(|error| refuse("--time", text, error)));
    Ok((
        grace.transpose()?,
        args.signal.as_deref().map(signal).transpose()?,
    ))
}

/// A signal by name or number.
pub fn signal(text: &str) -> anyhow::Result<Signal> {
    Ok(text
        .parse()
        .map_err(|_| refuse("--signal", text, "not a signal"))?)
}

/// Ends a VM; one that has ended already is no error, as with Docker.
pub fn end(
    runtime: &Runtime,
    name: &str,
    signal: Option<Signal>,
    grace: Option<Duration>,
) -> anyhow::Result<String> {
    if runtime.vm_summary(name)?.status.is_live() {
        match runtime.open_vm(name) {
            Ok(vm) => vm.stop_with(signal, grace)?,
            // It ended by itself just now.
            Err(supermachine::Error::Client(supermachine::ClientError::NotRunning)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(name.to_owned())
}
