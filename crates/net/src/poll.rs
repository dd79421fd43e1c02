//! Waiting for many sockets at once.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Whose socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// What the owner of the stack waits for.
    Owner,
    /// A TCP flow.
    Tcp(u32),
    /// A flow of datagrams.
    Datagrams(u32),
    /// A published port.
    Published(u32),
    /// A question to a name server.
    Query(u32),
    /// A channel to another member of the network.
    Member(u32),
    /// The owner has told the stack something.
    Told,
}

impl Token {
    const fn bits(self) -> u64 {
        let (kind, index) = match self {
            Self::Owner => (0, 0),
            Self::Tcp(index) => (1, index),
            Self::Datagrams(index) => (2, index),
            Self::Published(index) => (3, index),
            Self::Query(index) => (4, index),
            Self::Member(index) => (5, index),
            Self::Told => (6, 0),
        };
        kind << 32 | index as u64
    }

    const fn from_bits(bits: u64) -> Self {
        let index = bits as u32;
        match bits >> 32 {
            1 => Self::Tcp(index),
            2 => Self::Datagrams(index),
            3 => Self::Published(index),
            4 => Self::Query(index),
            5 => Self::Member(index),
            6 => Self::Told,
            _ => Self::Owner,
        }
    }
}

/// Something became possible.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An epoll instance. Sockets leave it when they are closed.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    /// Nobody reads it: that it is written is the news.
    told: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            told: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        poll.add(&poll.told, Token::Told)?;
        Ok(poll)
    }

    /// Ends a wait.
    pub(crate) fn tell(&self) {
        // Its counter is full after more news than a machine has time for.
        let _ = rustix::io::write(&self.told, &1_u64.to_ne_bytes());
    }

    /// Watches for the moments in which reading or writing becomes possible.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token.bits()),
            flags,
        )?)
    }

    /// Watches for as long as something can be read.
    pub(crate) fn add_level(&self, source: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token.bits()),
            EventFlags::IN,
        )?)
    }

    /// What is ready, after at most `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 256];
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((ready, _)) => Ok(ready.iter().map(describe).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

fn describe(event: &epoll::Event) -> Ready {
    let flags = event.flags;
    let broken = EventFlags::HUP | EventFlags::ERR;
    Ready {
        token: Token::from_bits(event.data.u64()),
        readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | broken),
        writable: flags.intersects(EventFlags::OUT | broken),
    }
}
