//! epoll, with what we wait for and nothing else.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What to wait for on one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// For as long as something can be read.
    Readable,
    /// For the moments in which reading or writing becomes possible.
    Edges,
}

impl Watch {
    const fn flags(self) -> EventFlags {
        match self {
            Self::Readable => EventFlags::IN,
            Self::Edges => EventFlags::IN
                .union(EventFlags::OUT)
                .union(EventFlags::RDHUP)
                .union(EventFlags::ET),
        }
    }
}

/// A descriptor that became ready.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The token it was added with.
    pub token: u64,
    /// Reading will not wait; true also when the peer hung up, so that the reader finds out.
    pub readable: bool,
    /// Writing will not wait, or will fail at once.
    pub writable: bool,
    /// The other side is gone in both directions.
    pub hangup: bool,
}

/// Waits for many descriptors at once.
pub struct Poller(OwnedFd);

impl Poller {
    /// Waits for nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Adds a descriptor under `token`. It leaves by itself when its last copy is closed.
    pub fn add(&self, source: impl AsFd, token: u64, watch: Watch) -> io::Result<()> {
        Ok(epoll::add(
            &self.0,
            source,
            EventData::new_u64(token),
            watch.flags(),
        )?)
    }

    /// Takes a descriptor out.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, source)?)
    }

    /// Waits until something is ready.
    pub fn wait(&self) -> io::Result<Vec<Ready>> {
        self.poll(None)
    }

    /// What is ready now, without waiting. For a poller that is watched by another one: readiness may be gone
    /// again by the time of looking (an edge that was taken back), and waiting for more would leave everything
    /// else the outer poller watches unserved.
    pub fn ready(&self) -> io::Result<Vec<Ready>> {
        self.poll(Some(&Timespec::default()))
    }

    fn poll(&self, timeout: Option<&Timespec>) -> io::Result<Vec<Ready>> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 64];
        loop {
            match epoll::wait(&self.0, &mut events, timeout) {
                Ok((ready, _)) => return Ok(ready.iter().map(describe).collect()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn describe(event: &epoll::Event) -> Ready {
    let flags = event.flags;
    let broken = EventFlags::HUP | EventFlags::ERR;
    let ended = broken | EventFlags::RDHUP;
    Ready {
        token: event.data.u64(),
        readable: flags.intersects(EventFlags::IN | ended),
        writable: flags.intersects(EventFlags::OUT | broken),
        hangup: flags.intersects(broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn readiness_that_was_taken_back_is_nothing_to_wait_for() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let (inner, outer) = (Poller::new().unwrap(), Poller::new().unwrap());
        inner.add(&ours, 1, Watch::Readable).unwrap();
        outer.add(&inner, 2, Watch::Readable).unwrap();
        theirs.write_all(b"x").unwrap();
        assert_eq!(outer.wait().unwrap()[0].token, 2);
        ours.read_exact(&mut [0]).unwrap();
        assert!(inner.ready().unwrap().is_empty());
    }
}
