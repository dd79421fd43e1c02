//! Bytes on their way to the guest.

use proto::frame::{Header, Kind};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::IoSlice;
use std::os::fd::AsFd;

/// How much may wait for the socket before stdin writers wait too. Small: it only has to keep the socket busy.
const HIGH_WATER: usize = 64 << 10;

/// Bytes the socket would not take yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Nothing waits.
    pub(crate) const EMPTY: Self = Self {
        bytes: Vec::new(),
        sent: 0,
    };

    pub(crate) const fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Whether a bulk sender should wait.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes.len() - self.sent >= HIGH_WATER
    }

    /// Sends a frame as far as the socket takes it, in one call; the rest waits here.
    pub(super) fn send(
        &mut self,
        socket: impl AsFd,
        kind: Kind,
        payload: &[u8],
    ) -> Result<(), Errno> {
        let header = Header::new(kind, payload.len()).to_bytes();
        let mut taken = 0;
        if self.is_empty() {
            taken = send_some(socket, &[IoSlice::new(&header), IoSlice::new(payload)])?;
        }
        if taken < header.len() {
            self.bytes.extend_from_slice(&header[taken..]);
            taken = header.len();
        }
        self.bytes
            .extend_from_slice(&payload[taken - header.len()..]);
        Ok(())
    }

    /// Appends a frame without touching the socket.
    pub(crate) fn queue(&mut self, kind: Kind, payload: &[u8]) {
        self.bytes
            .extend_from_slice(&Header::new(kind, payload.len()).to_bytes());
        self.bytes.extend_from_slice(payload);
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self, socket: impl AsFd) -> Result<(), Errno> {
        while !self.is_empty() {
            let taken = send_some(&socket, &[IoSlice::new(&self.bytes[self.sent..])])?;
            if taken == 0 {
                return Ok(());
            }
            self.sent += taken;
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(())
    }

    /// The guest does not listen any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How much the socket took; 0 when it is full.
fn send_some(socket: impl AsFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    loop {
        match sendmsg(
            &socket,
            parts,
            &mut SendAncillaryBuffer::default(),
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            other => return other,
        }
    }
}
