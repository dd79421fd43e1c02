//! Talking to the supervisor of a VM from another process.

use super::listener;
use crate::deadline::Deadline;
use crate::packet::{self, PacketError};
use crate::poll;
use proto::supervisor::{Reply, Request, RequestBody, VERSION};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// The way to the supervisor of a VM of another process.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
    vm: String,
}

/// Why the supervisor gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens: the VM has ended.
    #[error("the VM is not running")]
    NotRunning,
    /// The connection failed.
    #[error("the VM's supervisor cannot be reached: {0}")]
    Connect(Errno),
    /// The conversation failed.
    #[error("the conversation with the VM's supervisor failed: {0}")]
    Packet(PacketError),
    /// The deadline passed first.
    #[error("the VM's supervisor did not answer in time")]
    TimedOut,
    /// The supervisor answered without the stream that was asked for; this process may be at its limit of open files.
    #[error(
        "no stream to the VM was received; this process may be at its limit of open files (ulimit -n)"
    )]
    NoStream,
    /// The stream of events ended before the VM did.
    #[error("the events of the VM broke off: its supervisor died, or they were read too slowly")]
    EventsCut,
    /// The supervisor could not do it.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    pub(crate) const fn new(socket: PathBuf, vm: String) -> Self {
        Self { socket, vm }
    }

    /// Where the supervisor listens.
    #[cfg(test)]
    pub(super) fn address(&self) -> &std::path::Path {
        &self.socket
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(
        &self,
        body: RequestBody,
        deadline: Deadline,
    ) -> Result<(Reply, Option<OwnedFd>), ClientError> {
        let stream = self.request(body, deadline)?;
        receive(&stream, deadline).map(|(reply, fds)| (reply, fds.into_iter().next()))
    }

    /// Asks, and shows each answer but the last.
    pub(crate) fn ask_for_each(
        &self,
        body: RequestBody,
        deadline: Deadline,
        mut take: impl FnMut(Reply, Vec<OwnedFd>),
    ) -> Result<(), ClientError> {
        let stream = self.request(body, deadline)?;
        loop {
            match receive(&stream, deadline)? {
                (Reply::Done, _) => return Ok(()),
                (reply, fds) => take(reply, fds),
            }
        }
    }

    /// Asks for what several answers may follow.
    pub(crate) fn subscribe(&self) -> Result<OwnedFd, ClientError> {
        self.request(RequestBody::Events, Deadline::NEVER)
    }

    /// Hands something over to which no answer comes, without waiting for anything.
    pub(super) fn hand(&self, body: RequestBody, fd: BorrowedFd<'_>) -> Result<(), ClientError> {
        let stream = listener::dial_now(&self.socket).map_err(refused)?;
        packet::try_send(&stream, &self.message(body), &[fd]).map_err(ClientError::Packet)
    }

    fn message(&self, body: RequestBody) -> Request {
        Request {
            version: VERSION,
            vm: self.vm.clone(),
            body,
        }
    }

    pub(crate) fn request(
        &self,
        body: RequestBody,
        deadline: Deadline,
    ) -> Result<OwnedFd, ClientError> {
        let stream = listener::dial(&self.socket).map_err(refused)?;
        packet::send(&stream, &self.message(body), &[], deadline).map_err(ClientError::Packet)?;
        Ok(stream)
    }
}

const fn refused(errno: Errno) -> ClientError {
    match errno {
        Errno::NOENT | Errno::CONNREFUSED => ClientError::NotRunning,
        errno => ClientError::Connect(errno),
    }
}

/// The next answer.
pub(crate) fn receive(
    stream: &OwnedFd,
    deadline: Deadline,
) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
    loop {
        if let Some(reply) = try_reply(stream)? {
            return Ok(reply);
        }
        if !poll::ready(stream, PollFlags::IN, deadline) {
            return Err(ClientError::TimedOut);
        }
    }
}

/// The next answer, if it has come.
pub(crate) fn try_reply(stream: &OwnedFd) -> Result<Option<(Reply, Vec<OwnedFd>)>, ClientError> {
    match packet::try_receive::<Reply>(stream) {
        Ok(Some((Reply::Failed(message), _))) => Err(ClientError::Refused(message)),
        Ok(Some((Reply::AnotherVm, _))) => Err(ClientError::NotRunning),
        Ok(reply) => Ok(reply),
        // The supervisor died before it answered.
        Err(PacketError::Closed) => Err(ClientError::NotRunning),
        Err(error) => Err(ClientError::Packet(error)),
    }
}
