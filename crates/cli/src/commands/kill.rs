//! `kill`

use super::{each, stop};
use crate::args;
use std::time::Duration;
use supermachine::{Runtime, Signal};

/// How long the guest gets to bring its disk in order after its workload was killed.
const GRACE: Duration = Duration::from_secs(5);

/// Sends a signal to workloads. KILL ends the VM too, whatever state the guest is in.
pub fn carry_out(args: &args::Kill) -> anyhow::Result<u8> {
    let signal = stop::signal(&args.signal)?;
    let runtime = Runtime::new()?;
    each::at_once(&args.names, |name| {
        let vm = runtime.open_vm(name)?;
        if signal == Signal::KILL {
            vm.stop_with(Some(signal), Some(GRACE))?;
        } else {
            vm.signal(signal)?;
        }
        Ok(name.to_owned())
    })
}
