//! `wait`

use super::each;
use crate::args;
use crate::exit_code;
use supermachine::{Deadline, Runtime, VmStatus};

/// Prints the exit codes of workloads, in the order of the names, each when all before it have ended.
pub fn carry_out(args: &args::Wait) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    each::in_turn(&args.names, |name| Ok(code(&runtime, name)?.to_string()))
}

/// The code `run` would have ended with. A VM that was stopped or lost has one too, as long as it has a record.
fn code(runtime: &Runtime, name: &str) -> anyhow::Result<i32> {
    let error = match runtime.wait_vm(name, Deadline::NEVER) {
        Ok(exit) => return Ok(exit_code::of(&exit).into()),
        Err(error) => error,
    };
    let status = runtime.vm_summary(name).map(|vm| vm.status).ok();
    status
        .as_ref()
        .and_then(of_status)
        .ok_or_else(|| error.into())
}

/// The code for a state; none for a VM that has not ended.
pub fn of_status(status: &VmStatus) -> Option<i32> {
    match status {
        VmStatus::Exited { exit, .. } => Some(exit_code::of(exit).into()),
        other => other.exit_code(),
    }
}
