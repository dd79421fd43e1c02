//! Sleeping until one of several descriptors has something.

use crate::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Waits for input on one descriptor; whether it came before the deadline.
pub(super) fn readable(fd: &OwnedFd, deadline: Deadline) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    loop {
        match poll(&mut fds, timespec(deadline).as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Sleeps until one of `fds` is ready or the deadline has passed.
pub(super) fn any(fds: &[(BorrowedFd<'_>, PollFlags)], deadline: Deadline) {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    // An interrupted sleep is one that ended early; the caller looks at everything anyway.
    let _ = poll(&mut fds, timespec(deadline).as_ref());
}

fn timespec(deadline: Deadline) -> Option<Timespec> {
    let left = deadline.remaining()?;
    Some(Timespec {
        tv_sec: left.as_secs() as i64,
        tv_nsec: left.subsec_nanos().into(),
    })
}
