//! The VMM's end of the control socket: whole packets in, with the descriptors they carry; events out.

use crate::error::VmmError;
use proto::control::{Command, Event, MAX_DESCRIPTORS, MAX_PACKET, Step};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A packet of the library.
pub enum Received {
    /// A command and its descriptors.
    Command(Command, Vec<OwnedFd>),
    /// Nothing more for now.
    Empty,
    /// The library is gone.
    Closed,
}

/// The control socket, shared by every thread that has something to say.
#[derive(Clone)]
pub struct ControlSocket(Arc<OwnedFd>);

impl ControlSocket {
    /// Takes over the socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(Arc::new(socket))
    }

    /// Says something. A library that is gone hears nothing, and its going ends us elsewhere.
    pub fn send(&self, event: &Event) {
        self.send_with(event, &[]);
    }

    /// Says something and passes descriptors along.
    pub fn send_with(&self, event: &Event, descriptors: &[BorrowedFd<'_>]) {
        let packet = proto::encode(event);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(fits, "an event carries one descriptor");
        }
        let packet = [IoSlice::new(&packet)];
        loop {
            match sendmsg(&*self.0, &packet, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }

    /// The next packet; waits for it.
    pub fn receive(&self) -> Result<Received, VmmError> {
        self.receive_with(RecvFlags::CMSG_CLOEXEC)
    }

    /// The next packet, if there is one.
    pub fn try_receive(&self) -> Result<Received, VmmError> {
        self.receive_with(RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
    }

    fn receive_with(&self, flags: RecvFlags) -> Result<Received, VmmError> {
        let mut packet = vec![0; MAX_PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            match recvmsg(
                &*self.0,
                &mut [IoSliceMut::new(&mut packet)],
                &mut ancillary,
                flags,
            ) {
                Ok(message) => break message,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Empty),
                Err(Errno::CONNRESET) => return Ok(Received::Closed),
                Err(error) => {
                    return Err(VmmError::at(
                        Step::Protocol,
                        "cannot read the control socket",
                    )(error));
                }
            }
        };
        if message.bytes == 0 {
            return Ok(Received::Closed);
        }
        if message
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            let hint = "a control message was cut off: it is too long, or this process may not open so many files \
                        (raise `ulimit -n`)";
            return Err(VmmError::new(Step::Protocol, hint));
        }
        let descriptors = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let command = proto::decode(&packet[..message.bytes]).map_err(VmmError::at(
            Step::Protocol,
            "cannot understand a control message",
        ))?;
        Ok(Received::Command(command, descriptors))
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
