//! A session whose socket the runtime watches.

use super::hub::Hub;
use crate::error::Error;
use crate::session::{Session, SessionError, State};
use rustix::io::Errno;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// A session whose socket the runtime watches. It has no leader: whoever is polled reads for all, and wakes them.
#[derive(Debug)]
pub(super) struct Link {
    session: Arc<Session>,
    /// The same socket, to be told when it is ready; all bytes go through the session.
    readiness: UnixStream,
    hub: Arc<Hub>,
    waker: Waker,
}

/// A socket to be told about, never to be read from.
pub(super) fn watch(socket: OwnedFd) -> Result<UnixStream, Errno> {
    let watch = || {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket)
    };
    watch().map_err(|error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

impl Link {
    /// Needs a runtime with I/O around it.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Error> {
        let same = rustix::io::fcntl_dupfd_cloexec(&socket, 0);
        let readiness = same.and_then(watch).map_err(SessionError::Socket)?;
        let session = Session::new(socket);
        session.lead_externally();
        let hub = Arc::new(Hub::default());
        Ok(Self {
            session: Arc::new(session),
            readiness,
            waker: Arc::clone(&hub).into(),
            hub,
        })
    }

    pub(super) const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// What `want` finds, once it finds something. Nothing is lost if nobody asks again.
    pub(super) fn poll_for<T>(
        &self,
        context: &Context<'_>,
        mut want: impl FnMut(&mut State, BorrowedFd<'_>) -> Option<T>,
    ) -> Poll<T> {
        self.hub.register(context.waker());
        loop {
            let (found, all_sent) = self.session().look(&mut want);
            if let Some(found) = found {
                return Poll::Ready(found);
            }
            let wrote = !all_sent && self.write();
            if !self.read() && !wrote {
                return Poll::Pending;
            }
        }
    }

    /// As [`Self::poll_for`], to be awaited.
    pub(super) async fn until<T>(
        &self,
        mut want: impl FnMut(&mut State, BorrowedFd<'_>) -> Option<T>,
    ) -> T {
        std::future::poll_fn(|context| self.poll_for(context, &mut want)).await
    }

    /// Whether there was room to send; if not, the hub is told when there is.
    fn write(&self) -> bool {
        let mut context = Context::from_waker(&self.waker);
        match self.readiness.poll_write_ready(&mut context) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                self.note(Interest::WRITABLE, || {
                    self.session.look(|_, _| None::<()>).1
                });
                true
            }
            Poll::Ready(Err(_)) => self.abandon(),
        }
    }

    /// Whether there may have been something to read; if not, the hub is told when there is.
    fn read(&self) -> bool {
        let mut context = Context::from_waker(&self.waker);
        match self.readiness.poll_read_ready(&mut context) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                if self.note(Interest::READABLE, || self.session.pump_edge()) {
                    // It may be what others wait for, in this task too.
                    self.hub.wake_all();
                }
                true
            }
            Poll::Ready(Err(_)) => self.abandon(),
        }
    }

    /// Does what the socket is ready for; if nothing came of it, the socket is not ready anymore.
    fn note(&self, interest: Interest, work: impl FnOnce() -> bool) -> bool {
        let worked = || work().then_some(()).ok_or(io::ErrorKind::WouldBlock.into());
        self.readiness.try_io(interest, worked).is_ok()
    }

    /// The runtime is shutting down.
    fn abandon(&self) -> bool {
        self.session.abandon();
        self.hub.wake_all();
        true
    }
}
