//! `rm`

use super::each;
use crate::args;
use supermachine::Runtime;

/// Removes VMs and prints the names of those that are gone.
pub fn carry_out(args: &args::Rm) -> anyhow::Result<u8> {
    let runtime = Runtime::new()?;
    each::at_once(&args.names, |name| {
        if args.force && runtime.vm_summary(name)?.status.is_live() {
            runtime.kill_and_remove_vm(name)?;
        } else {
            runtime.remove_vm(name)?;
        }
        Ok(name.to_owned())
    })
}
