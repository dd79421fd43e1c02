//! One epoll instance; every registration carries a number that comes back with its events.

use super::{check, fd::raw};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What happened to a descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Happening {
    /// The number given at registration.
    pub token: u64,
    /// The other side is gone.
    pub broken: bool,
}

/// What to be told about.
#[derive(Debug, Clone, Copy)]
pub enum Interest {
    /// Bytes to read, for as long as there are any.
    Readable,
    /// Each change to readable.
    ReadableEdge,
    /// Each change to writable.
    WritableEdge,
    /// Each change to readable, writable or closed.
    BothEdges,
    /// Each change of a file that counts events (cgroup files).
    PriorityEdge,
}

impl Interest {
    const fn bits(self) -> u32 {
        (match self {
            Self::Readable => libc::EPOLLIN,
            Self::ReadableEdge => libc::EPOLLIN | libc::EPOLLET,
            Self::WritableEdge => libc::EPOLLOUT | libc::EPOLLET,
            Self::BothEdges => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
            Self::PriorityEdge => libc::EPOLLPRI | libc::EPOLLET,
        }) as u32
    }
}

/// The set of descriptors a loop waits for. Closing a descriptor takes it out.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// An empty set that reports at most `batch` happenings at a time.
    pub fn new(batch: usize) -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; batch],
        })
    }

    /// Registers a descriptor.
    pub fn add(&self, fd: &impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    /// Gives a registered descriptor another number; what is ready now is told again.
    pub fn change(&self, fd: &impl AsFd, interest: Interest, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    fn control(
        &self,
        what: libc::c_int,
        fd: &impl AsFd,
        interest: Interest,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.bits(),
            u64: token,
        };
        // SAFETY: the kernel only reads `event`.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, raw(fd), &raw mut event) })
            .map(drop)
    }

    /// Takes a descriptor out that stays open.
    pub fn remove(&self, fd: &impl AsFd) {
        let no_event = std::ptr::null_mut();
        // SAFETY: a removal ignores the event. One that is not there is as good as removed.
        unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, raw(fd), no_event) };
    }

    /// Waits, at most this long (`None`: for ever). A signal is not an error: it ends the wait.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = Happening>> {
        let capacity = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `capacity` events into the vector, which has that many.
        let count = check(unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                capacity,
                milliseconds(timeout),
            )
        });
        let count = match count {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        Ok(self.events[..count as usize].iter().map(|event| Happening {
            token: event.u64,
            broken: event.events & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0,
        }))
    }
}

/// Rounded up, so that a deadline has passed when the wait for it ends.
fn milliseconds(timeout: Option<Duration>) -> i32 {
    timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_shorter_than_its_deadline() {
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::MAX)), i32::MAX);
    }
}
