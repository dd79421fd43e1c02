//! A process inside, in the foreground of our terminal.

use crate::args::Refusal;
use crate::exit_code;
use crate::output::failure;
use crate::output::stdout::Gone;
use crate::signals::{Recipient, Relay};
use crate::streams::{Outputs, Readers, carry_input};
use std::sync::Arc;
use supermachine::{Error, Exit, StdinWriter};

/// The streams of a process.
pub struct Streams {
    /// Fed from our standard input.
    pub stdin: Option<StdinWriter>,
    /// Copied to ours.
    pub output: Readers,
}

/// Carries streams and signals until the process has ended, and gives the exit code.
pub fn attend<P>(
    process: &Arc<P>,
    streams: Streams,
    relay: &Relay,
    wait: impl FnOnce(&P) -> Result<Exit, Error>,
) -> anyhow::Result<u8>
where
    P: Recipient + 'static,
{
    let recipient: Arc<dyn Recipient> = Arc::clone(process) as _;
    let outputs = Outputs::start(streams.output, &recipient)?;
    relay.is_for(recipient);
    if let Some(stdin) = streams.stdin {
        carry_input(stdin)?;
    }
    let ended = wait(process);
    // What is left is output that was not taken yet. Who has had enough of it may leave.
    relay.exits();
    match outputs.finish() {
        // Who interrupts a pipeline often ends its reader too.
        Err(error) if error.is::<Gone>() => return relay.interrupted().ok_or(error),
        written if ended.is_ok() => written?,
        // The VM failed first; that tells more.
        _ => {}
    }
    match ended {
        Ok(exit) => Ok(told(&exit)),
        Err(_) if relay.has_killed() => Ok(exit_code::of_signal(9)),
        Err(error) => Err(error.into()),
    }
}

/// The exit code, with a line for ends that the code alone does not explain.
fn told(exit: &Exit) -> u8 {
    if exit.timed_out {
        failure::note("the workload was killed: it ran longer than --timeout");
    } else if exit.out_of_memory {
        failure::tell(
            "supermachine: the workload was killed: its memory ran out\nhint: give it more with --memory\n",
        );
    }
    exit_code::of(exit)
}

/// A value of a flag that cannot be used.
pub fn refuse(flag: &str, value: &str, reason: impl std::fmt::Display) -> Refusal {
    Refusal {
        message: format!("{flag} {value}: {reason}"),
        hint: None,
    }
}
