//! `fork`

use super::run::launcher;
use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use crate::exit_code;
use crate::output::stdout;
use supermachine::{Runtime, detached};

/// Makes copies of a running VM, each under a supervisor of its own, and prints their names.
pub fn carry_out(args: &args::Fork) -> anyhow::Result<u8> {
    let count = count(&args.count)?;
    let vm = Runtime::new()?.open_vm(&args.name)?;
    for copy in detached::fork(&vm, count, &launcher())? {
        stdout::line(copy.name())?;
    }
    Ok(exit_code::SUCCESS)
}

fn count(text: &str) -> Result<u32, Refusal> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err(refuse("-n", text, "it takes a whole number, 1 at least")),
    }
}
