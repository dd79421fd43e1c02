//! Exit codes, as Docker's.

use supermachine::{Exit, ExitStatus};

/// All went well.
pub const SUCCESS: u8 = 0;

/// A check of `doctor` failed.
pub const UNFIT: u8 = 1;

/// `--timeout` ended the workload.
pub const TIMED_OUT: u8 = 124;

/// We failed, not the workload; a wrong command line too.
pub const OURS: u8 = 125;

/// Whoever read our output is gone: what a shell shows for a program that SIGPIPE ended.
pub const OUTPUT_GONE: u8 = of_signal(13);

/// What a shell shows for a program that a signal ended.
pub const fn of_signal(number: i32) -> u8 {
    (128 + (number & 0x7f)) as u8
}

/// The code for the end of a workload.
pub const fn of(exit: &Exit) -> u8 {
    match exit.status {
        _ if exit.timed_out => TIMED_OUT,
        ExitStatus::Code(code) => (code & 0xff) as u8,
        ExitStatus::Signal(signal) => of_signal(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: ExitStatus) -> Exit {
        Exit {
            status,
            duration_us: 0,
            max_rss_kib: 0,
            timed_out: false,
            out_of_memory: false,
        }
    }

    #[test]
    fn codes_are_dockers() {
        assert_eq!(of(&exit(ExitStatus::Code(0))), 0);
        assert_eq!(of(&exit(ExitStatus::Code(255))), 255);
        assert_eq!(of(&exit(ExitStatus::Signal(9))), 137);
        assert_eq!(of(&exit(ExitStatus::Signal(15))), 143);
        assert_eq!(of(&exit(ExitStatus::Signal(64))), 192);
        assert_eq!(
            of(&Exit {
                timed_out: true,
                ..exit(ExitStatus::Signal(9))
            }),
            TIMED_OUT
        );
        assert_eq!(OUTPUT_GONE, 141);
    }

    #[test]
    fn a_guest_that_reports_nonsense_still_gives_a_code() {
        assert_eq!(of(&exit(ExitStatus::Code(256))), 0);
        assert_eq!(of(&exit(ExitStatus::Code(-1))), 255);
        assert_eq!(of(&exit(ExitStatus::Signal(i32::MAX))), 255);
    }
}
