//! Talking to a VM's supervisor and agent.

use super::link::watch;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::reach::{LAST_WORDS, Reach, is_broken, is_end};
use crate::session::SessionError;
use crate::supervisor::{Client, ClientError, try_reply};
use proto::supervisor::{Reply, RequestBody};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// Answers of a supervisor, one at a time.
#[derive(Debug)]
pub(super) struct Replies {
    socket: OwnedFd,
    readiness: UnixStream,
}

impl Replies {
    /// Asks. A supervisor takes a request at once or not at all.
    pub(super) fn ask(client: &Client, body: RequestBody) -> Result<Self, ClientError> {
        let socket = client.request(body, Deadline::NEVER)?;
        let same = rustix::io::fcntl_dupfd_cloexec(&socket, 0);
        let readiness = same.and_then(watch).map_err(ClientError::Connect)?;
        Ok(Self { socket, readiness })
    }

    /// The next answer. One packet is taken or none.
    pub(super) async fn next(&self) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        loop {
            if let Some(reply) = self.look()? {
                return Ok(reply);
            }
            if self.readiness.readable().await.is_err() {
                return Err(ClientError::NotRunning);
            }
        }
    }

    /// The answer that is there, if there is one; if not, the socket is not ready anymore.
    fn look(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, ClientError> {
        let mut found = Ok(None);
        // That nothing was there is in `found` too.
        let _ = self.readiness.try_io(Interest::READABLE, || {
            found = try_reply(&self.socket);
            match found {
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        found
    }
}

impl Reach {
    /// As [`Self::connect`], without waiting for another process in this thread.
    pub(super) async fn connect_async(&self) -> Result<OwnedFd, Error> {
        match self {
            // The VMM takes an order at once.
            Self::Local { .. } => self.connect(Deadline::NEVER),
            Self::Remote(client) => {
                let replies = Replies::ask(client, RequestBody::Connect)?;
                match replies.next().await? {
                    (Reply::Done, fds) => {
                        let stream = fds.into_iter().next();
                        Ok(stream.ok_or(ClientError::NoStream)?)
                    }
                    _ => Err(ClientError::NoStream.into()),
                }
            }
        }
    }

    /// As [`Self::explain`].
    pub(super) async fn explain_async(&self, error: SessionError) -> Error {
        let Self::Local { shared, .. } = self else {
            return error.into();
        };
        if !is_broken(&error) {
            return error.into();
        }
        let (tell, told) = oneshot::channel();
        shared.watch(move |outcome| {
            // Nobody may want to know anymore.
            let _ = tell.send(outcome.clone());
        });
        match tokio::time::timeout(LAST_WORDS, told).await {
            Ok(Ok(outcome)) => is_end(outcome),
            _ => error.into(),
        }
    }
}
