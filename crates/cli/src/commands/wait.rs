//! `wait`

use super::each;
use crate::args;
use crate::exit_code;
use supermachine::{Deadline, Runtime};

/// Prints the exit codes of workloads, in the order of the names, each when all before it have ended.
pub fn carry_out(args: &args::Wait) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    each::in_turn(&args.names, |name| {
        Ok(exit_code::of(&runtime.wait_vm(name, Deadline::NEVER)?).to_string())
    })
}
