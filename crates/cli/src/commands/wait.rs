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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;
    use supermachine::{Exit, ExitStatus};

    #[test]
    fn the_code_is_the_one_run_would_have_ended_with() {
        let at = SystemTime::now();
        let exited = |status, timed_out| {
            let exit = Exit {
                status,
                duration_us: 0,
                max_rss_kib: 0,
                timed_out,
                out_of_memory: false,
            };
            VmStatus::Exited { exit, at }
        };
        for (status, code) in [
            (exited(ExitStatus::Code(3), false), Some(3)),
            (exited(ExitStatus::Signal(15), false), Some(143)),
            (exited(ExitStatus::Signal(9), true), Some(124)),
            (VmStatus::Stopped { at }, Some(137)),
            (VmStatus::Crashed, Some(137)),
            (
                VmStatus::Failed {
                    message: String::new(),
                    at,
                },
                Some(125),
            ),
            (VmStatus::Running { since: at }, None),
        ] {
            assert_eq!(of_status(&status), code, "{status:?}");
        }
    }
}
