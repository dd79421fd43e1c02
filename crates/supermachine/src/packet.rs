//! Whole messages and descriptors over sequenced-packet sockets.

use crate::deadline::Deadline;
use crate::poll;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Both conversations agree on it.
const MAX_PACKET: usize = proto::control::MAX_PACKET;
const MAX_DESCRIPTORS: usize = proto::control::MAX_DESCRIPTORS;

/// The most descriptors anybody sends to the library: two of a fork and its disk, which has some ten layers.
const MAX_RECEIVED: usize = 32;
const _: () = assert!(proto::supervisor::MAX_PACKET == MAX_PACKET);

/// Why a message was not received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The other side is gone.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side does not read.
    #[error("the other side does not listen")]
    Busy,
    /// The socket failed.
    #[error("{0}")]
    Socket(Errno),
    /// The message is too long, or carried more descriptors than this process may open.
    #[error("a message was cut off; this process may be at its limit of open files (ulimit -n)")]
    CutOff,
    /// The message cannot be understood.
    #[error("a message cannot be understood: {0}")]
    Malformed(proto::CodecError),
}

/// Two connected ends.
pub(crate) fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// Sends a message and descriptors in one packet, waiting for room until the deadline.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
    deadline: Deadline,
) -> Result<(), PacketError> {
    let packet = proto::encode(message);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(PacketError::CutOff);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match sendmsg(&socket, &[IoSlice::new(&packet)], &mut ancillary, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if poll::ready(&socket, PollFlags::OUT, deadline) => {}
            Err(Errno::AGAIN) => return Err(PacketError::Busy),
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(PacketError::Closed),
            Err(errno) => return Err(PacketError::Socket(errno)),
        }
    }
}

/// As [`send`]; a socket without room is an error. For peers that may not read.
pub(crate) fn try_send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), PacketError> {
    send(socket, message, fds, Deadline::after(Duration::ZERO))
}

/// The next message, if it is there.
pub(crate) fn try_receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> Result<Option<(T, Vec<OwnedFd>)>, PacketError> {
    let mut packet = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_RECEIVED))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut packet)],
            &mut ancillary,
            flags,
        ) {
            Ok(message) => break message,
            // The kernel reports once that the other side closed with messages of ours unread; what it said
            // before that is still here, and then its end.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(PacketError::Socket(errno)),
        }
    };
    let fds = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if message.bytes == 0 {
        return Err(PacketError::Closed);
    }
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(PacketError::CutOff);
    }
    let message = proto::decode(&packet[..message.bytes]).map_err(PacketError::Malformed)?;
    Ok(Some((message, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::supervisor::Reply;
    use std::io::{Read, Write};

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (a, b) = pair(SocketType::SEQPACKET).unwrap();
        let (mut near, far) = std::io::pipe().unwrap();
        send(&a, &Reply::Done, &[far.as_fd()], Deadline::NEVER).unwrap();
        drop(far);
        let (reply, fds) = try_receive::<Reply>(&b).unwrap().unwrap();
        assert_eq!(reply, Reply::Done);
        for fd in fds {
            std::fs::File::from(fd).write_all(b"through").unwrap();
        }
        let mut text = String::new();
        near.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert!(try_receive::<Reply>(&b).unwrap().is_none());
        drop(a);
        assert_eq!(try_receive::<Reply>(&b).unwrap_err(), PacketError::Closed);
    }

    #[test]
    fn the_last_words_of_a_peer_that_did_not_listen_are_heard() {
        let (a, b) = pair(SocketType::SEQPACKET).unwrap();
        send(&a, &Reply::Done, &[], Deadline::NEVER).unwrap();
        send(&b, &Reply::Failed("why".into()), &[], Deadline::NEVER).unwrap();
        drop(b);
        let (reply, _) = try_receive::<Reply>(&a).unwrap().unwrap();
        assert_eq!(reply, Reply::Failed("why".into()));
        assert_eq!(try_receive::<Reply>(&a).unwrap_err(), PacketError::Closed);
    }

    #[test]
    fn a_peer_that_never_reads_is_given_up_on() {
        let (a, _b) = pair(SocketType::SEQPACKET).unwrap();
        let message = Reply::Failed("x".repeat(60_000));
        let deadline = Deadline::after(Duration::from_millis(20));
        let error = (0..100).find_map(|_| send(&a, &message, &[], deadline).err());
        assert_eq!(error, Some(PacketError::Busy));
    }

    #[test]
    fn more_descriptors_than_expected_are_closed_and_refused() {
        let (a, b) = pair(SocketType::SEQPACKET).unwrap();
        let fds = [a.as_fd(); 50];
        send(&a, &Reply::Done, &fds, Deadline::NEVER).unwrap();
        assert_eq!(try_receive::<Reply>(&b).unwrap_err(), PacketError::CutOff);
    }
}
