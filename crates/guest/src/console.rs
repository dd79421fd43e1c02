//! The console: a few short lines for the host. Each byte of it costs an exit from the VM, so it is for the
//! hand-over from the kernel and for fatal errors only.

use crate::sys::{fd, process};
use proto::guest::{AGENT_DIED_PREFIX, FATAL_PREFIX};

/// The exit code of a role that has told the console why it ended.
pub const REPORTED: i32 = 70;

/// Writes one line.
pub fn line(text: &str) {
    let bytes = [text.as_bytes(), b"\n"].concat();
    let mut rest = &bytes[..];
    while let Ok(written @ 1..) = fd::write(&fd::CONSOLE, rest) {
        rest = &rest[written..];
    }
}

/// Writes the line from which the host learns that the machine gave up, and why.
pub fn fatal(reason: &str) {
    last_line(FATAL_PREFIX, reason);
}

/// Writes the line from which the host learns that the agent is no more, and why.
pub fn agent_died(reason: &str) {
    last_line(AGENT_DIED_PREFIX, reason);
}

fn last_line(prefix: &str, reason: &str) {
    // One line, whatever the reason holds: the host reads the console line by line.
    line(&format!("{prefix}{}", reason.replace('\n', " ")));
    drain();
}

/// Waits until the lines have left: the driver sends them when it gets round to it, a reset does not wait.
fn drain() {
    fd::wait_until_sent(&fd::CONSOLE);
}

/// Turns a panic into a fatal line and the end of the role.
pub fn report_panics(role: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        fatal(&format!("{role}: {panic}"));
        process::exit(REPORTED);
    }));
}
