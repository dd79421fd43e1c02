//! Flows that a copy of the guest remembers and nobody serves any more.

use crate::policy::Protocol;
use crate::tcp;
use crate::udp::closed;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A flow of a VM that is written down: enough to tell the copy's guest that it is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The guest's hardware address in that life, by which it still goes when it hears of this.
    pub(crate) mac: [u8; 6],
    pub(crate) guest: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) kind: Kind,
}

/// What kind of flow it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A connection: the numbers at which the guest takes a reset.
    Tcp { seq: u32, ack: u32 },
    /// Datagrams.
    Udp,
}

impl Lost {
    /// What the guest hears: a reset, or that nobody listens there.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let ends = (self.guest, self.remote);
        match self.kind {
            Kind::Tcp { seq, ack } => tcp::reset_of(self.mac, ends, (seq, ack)),
            Kind::Udp => closed(self.mac, (Protocol::Udp, self.guest, self.remote)),
        }
    }
}
