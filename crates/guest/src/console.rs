//! The console: a few short lines for the host. Each byte of it costs an exit from the VM, so it is for the
//! hand-over from the kernel and for fatal errors only.

use crate::sys::{fd, process};
use proto::guest::FATAL_PREFIX;
use std::os::fd::BorrowedFd;

/// The exit code of a role that has told the console why it ended.
pub const REPORTED: i32 = 70;

/// Writes one line.
pub fn line(text: &str) {
    let bytes = [text.as_bytes(), b"\n"].concat();
    let mut rest = &bytes[..];
    while let Ok(written @ 1..) = fd::write(&stderr(), rest) {
        rest = &rest[written..];
    }
}

/// Writes the line from which the host learns that the machine gave up, and why.
pub fn fatal(reason: &str) {
    // One line, whatever the reason holds: the host reads the console line by line.
    line(&format!("{FATAL_PREFIX}{}", reason.replace('\n', " ")));
}

/// Turns a panic into a fatal line and the end of the role.
pub fn report_panics(role: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        fatal(&format!("{role}: {panic}"));
        process::exit(REPORTED);
    }));
}

fn stderr() -> BorrowedFd<'static> {
    // SAFETY: the kernel opened the console as descriptors 0 to 2 of PID 1; no role closes its own.
    unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) }
}
