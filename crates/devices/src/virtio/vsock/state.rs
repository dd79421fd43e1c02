//! What a saved VM remembers of its connections: whom to tell that they are over.

use serde::{Deserialize, Serialize};

/// The socket device's own part of its state. A change of it counts `STATE_VERSION` up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {
    /// Where the search for a host port goes on. Connections of the new life so get other ports than those of the
    /// old, and what the guest still sends to an old one cannot reach a new one.
    pub next_port: u32,
    /// The connections that the guest knows of, in no order that matters.
    pub connections: Vec<Ports>,
    /// Resets that the guest has not been sent yet, for packets that belonged to no connection.
    pub resets: Vec<StrayReset>,
}

/// The two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ports {
    /// The host's port.
    pub host: u32,
    /// The guest's port.
    pub guest: u32,
}

/// A reset whose sender is whoever the guest took for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayReset {
    /// The context id that the guest spoke to.
    pub cid: u64,
    /// The ports.
    pub ports: Ports,
}
