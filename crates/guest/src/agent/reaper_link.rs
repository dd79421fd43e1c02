//! The agent's side of the reaper.

use crate::init::{BootError, Cgroup, Step};
use crate::reaper::{self, Link, Order, Report};
use crate::sys::epoll::Epoll;
use crate::sys::process::{self, Fork, Pid};
use crate::sys::socket;
use proto::session::Failure;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The reaper's process and the way to it.
#[derive(Debug)]
pub struct ReaperLink {
    /// Its id for us.
    pub pid: Pid,
    link: Link,
    open: bool,
    /// Its process has ended, and nothing is left of its namespace.
    pub gone: bool,
}

/// What came from the reaper.
#[derive(Debug)]
pub enum Heard {
    /// A report.
    Report(Report),
    /// It has closed its end: it has become the workload, or is dying.
    Closed,
}

impl ReaperLink {
    /// Forks the reaper and waits until its namespace is ready. What we start from then on lives there.
    pub fn fork(cgroup: &Cgroup) -> Result<Self, BootError> {
        let (ours, theirs) = socket::pair().step("make a socket pair")?;
        let (pid, pidfd) = match process::fork_into_namespace(cgroup).step("fork the reaper")? {
            Fork::Child => {
                drop(ours);
                reaper::run(theirs)
            }
            Fork::Parent(pid, pidfd) => (pid, pidfd),
        };
        drop(theirs);
        let mut link = Link::new(ours);
        let dead = || io::Error::from_raw_os_error(libc::ESRCH);
        loop {
            if !link.receive().step("hear from the reaper")? {
                return Err(dead()).step("start the reaper");
            }
            if let Ok(Some(Report::Ready)) = link.next() {
                break;
            }
        }
        let pidfd: OwnedFd = pidfd.ok_or_else(dead).step("get the reaper's pidfd")?;
        process::start_children_in(&pidfd).step("enter the workload's namespaces")?;
        Ok(Self {
            pid,
            link,
            open: true,
            gone: false,
        })
    }

    /// Sends an order.
    pub fn order(&self, order: &Order, stdio: Option<[BorrowedFd<'_>; 3]>) -> io::Result<()> {
        self.link.send(order, stdio)
    }

    /// Whether it has not closed its end.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Nothing more comes.
    pub fn close(&mut self, epoll: &Epoll) {
        epoll.remove(&self.link);
        self.open = false;
    }

    /// Takes what has come, without waiting.
    pub fn hear(&mut self) -> Result<Vec<Heard>, Failure> {
        if !self.open || !socket::is_readable(&self.link) {
            return Ok(Vec::new());
        }
        let open = self.link.receive().unwrap_or(false);
        let mut heard = Vec::new();
        while let Some(report) = self.link.next()? {
            heard.push(Heard::Report(report));
        }
        if !open {
            heard.push(Heard::Closed);
        }
        Ok(heard)
    }
}

impl AsFd for ReaperLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
