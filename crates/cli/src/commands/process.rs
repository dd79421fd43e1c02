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
pub fn told(exit: &Exit) -> u8 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use supermachine::{ExitStatus, Signal};

    struct Process;

    impl Recipient for Process {
        fn pass_on(&self, _: Signal) {}

        fn end(&self, _: Signal) {}
    }

    fn attended(wait: impl FnOnce(&Process) -> Result<Exit, Error>) -> anyhow::Result<u8> {
        let streams = Streams {
            stdin: None,
            output: Readers {
                stdout: None,
                stderr: None,
            },
        };
        attend(&Arc::new(Process), streams, &Relay::start().unwrap(), wait)
    }

    fn exit(status: ExitStatus, timed_out: bool) -> Exit {
        Exit {
            status,
            duration_us: 0,
            max_rss_kib: 0,
            timed_out,
            out_of_memory: false,
        }
    }

    #[test]
    fn the_exit_code_is_the_workloads_and_124_after_a_timeout() {
        assert_eq!(
            attended(|_| Ok(exit(ExitStatus::Code(7), false))).unwrap(),
            7
        );
        assert_eq!(
            attended(|_| Ok(exit(ExitStatus::Signal(9), false))).unwrap(),
            137
        );
        assert_eq!(
            attended(|_| Ok(exit(ExitStatus::Signal(9), true))).unwrap(),
            124
        );
    }

    #[test]
    fn a_vm_that_fails_is_an_error_of_its_own() {
        let error = attended(|_| Err(Error::NoWorkload)).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::NoWorkload)));
    }
}
