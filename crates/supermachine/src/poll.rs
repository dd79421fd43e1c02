//! Sleeping until descriptors have something.

use crate::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Waits for one descriptor; whether it was ready (or failed) before the deadline.
pub(crate) fn ready(fd: impl AsFd, what: PollFlags, deadline: Deadline) -> bool {
    let mut fds = [PollFd::new(&fd, what)];
    loop {
        match poll(&mut fds, timespec(deadline).as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Sleeps until one of `fds` is ready or the deadline has passed.
pub(crate) fn any(fds: &[(BorrowedFd<'_>, PollFlags)], deadline: Deadline) {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    // An interrupted sleep is one that ended early; the caller looks at everything anyway.
    let _ = poll(&mut fds, timespec(deadline).as_ref());
}

pub(crate) fn timespec(deadline: Deadline) -> Option<Timespec> {
    let left = deadline.remaining()?;
    Some(Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: left.subsec_nanos().into(),
    })
}
