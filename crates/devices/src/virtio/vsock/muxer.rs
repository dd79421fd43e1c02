//! All connections, and whose turn it is.

use super::connection::{Connection, Outgoing, Readiness};
use super::packet::{HEADER_LEN, HOST_CID, Header, Op, TYPE_STREAM};
use super::state::{Ports, StrayReset, VsockState};
use super::stream::HostStream;
use crate::virtio::buffers::Buffers;
use crate::virtio::mmio::RestoreError;
use std::collections::{HashMap, VecDeque};

/// Host ports are ours to choose; these look like nobody's well-known ones.
const FIRST_PORT: u32 = 1 << 30;

/// VMADDR_PORT_ANY is no port.
const LAST_PORT: u32 = u32::MAX - 1;

/// Resets for packets that belong to no connection, waiting for room in the guest's receive queue. A guest
/// that provokes more without taking these does without: its sockets time out.
const MAX_RESETS: usize = 256;

/// Ports the guest knocked on that nobody asked about yet.
const MAX_REFUSED: usize = 64;

/// Names a connection for as long as the device lives; none is ever named twice in four billion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// As a number, to be kept with an event source.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Back from [`ConnectionId::get`]. A number that is none does no harm.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

/// All connections of one guest.
pub struct Muxer<S> {
    guest_cid: u64,
    /// By host port: each connection has its own.
    connections: HashMap<u32, Connection<S>>,
    next_port: u32,
    /// Host ports of those who have something to send, served in turn, a packet each.
    line: VecDeque<u32>,
    /// Connections of a life before this one, which the guest must hear are over. There are as many as the host
    /// opened, and none may be forgotten: its process in the guest would wait for ever.
    farewells: VecDeque<Ports>,
    resets: VecDeque<StrayReset>,
    refused: Vec<u32>,
}

impl<S: HostStream> Muxer<S> {
    pub fn new(guest_cid: u64) -> Self {
        Self {
            guest_cid,
            connections: HashMap::new(),
            next_port: FIRST_PORT,
            line: VecDeque::new(),
            farewells: VecDeque::new(),
            resets: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    pub fn connect(&mut self, stream: S, guest_port: u32) -> ConnectionId {
        let port = self.free_port();
        self.connections
            .insert(port, Connection::new(stream, guest_port));
        self.settle(port);
        ConnectionId(port)
    }

    fn free_port(&mut self) -> u32 {
        loop {
            let port = self.next_port;
            self.next_port = if port == LAST_PORT {
                FIRST_PORT
            } else {
                port + 1
            };
            if !self.connections.contains_key(&port) {
                return port;
            }
        }
    }

    pub fn stream_ready(&mut self, id: ConnectionId, readiness: Readiness) {
        if let Some(connection) = self.connections.get_mut(&id.0) {
            connection.stream_ready(readiness);
            self.settle(id.0);
        }
    }

    pub fn take_refused(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.refused)
    }

    /// Ends every connection; the guest's side is gone.
    pub fn clear(&mut self) {
        self.connections
            .drain()
            .for_each(|(_, connection)| connection.finish());
        self.line.clear();
        self.farewells.clear();
        self.resets.clear();
        self.refused.clear();
    }

    /// Gives a connection its place in line if it has something to send, and ends it if it is over.
    fn settle(&mut self, port: u32) {
        let Some(connection) = self.connections.get_mut(&port) else {
            return;
        };
        if connection.is_finished() {
            if let Some(connection) = self.connections.remove(&port) {
                connection.finish();
            }
        } else if !connection.in_line && connection.has_outgoing() {
            connection.in_line = true;
            self.line.push_back(port);
        }
    }

    /// The guest sent a packet; `data` is what came with it, which may not be what the header says.
    pub fn receive(&mut self, header: &Header, mut data: Buffers<'_>) {
        if header.src_cid != self.guest_cid {
            // Nobody of that name lives here who could be answered.
            return;
        }
        let op = header.op();
        let known = self
            .connections
            .get_mut(&header.dst_port)
            .filter(|connection| {
                header.dst_cid == HOST_CID && connection.guest_port == header.src_port
            });
        let Some(connection) = known else {
            return self.refuse(header, op);
        };
        let excess = data.split_off(header.len as usize);
        drop(excess);
        match op {
            Some(op) if header.kind == TYPE_STREAM && data.len() == header.len as usize => {
                connection.receive(op, header, &data);
            }
            _ => connection.reset(),
        }
        self.settle(header.dst_port);
    }

    /// Answers a packet that belongs to no connection. A reset is never answered: two peers that both lost
    /// a connection would never stop.
    fn refuse(&mut self, header: &Header, op: Option<Op>) {
        if op == Some(Op::Reset) {
            return;
        }
        let knocked = op == Some(Op::Request) && header.dst_cid == HOST_CID;
        if knocked && self.refused.len() < MAX_REFUSED && !self.refused.contains(&header.dst_port) {
            self.refused.push(header.dst_port);
        }
        if self.resets.len() < MAX_RESETS {
            self.resets.push_back(StrayReset {
                cid: header.dst_cid,
                ports: Ports {
                    host: header.dst_port,
                    guest: header.src_port,
                },
            });
        }
    }

    /// Whether there is, or may be, something to send to the guest.
    pub fn has_outgoing(&self) -> bool {
        !self.farewells.is_empty() || !self.resets.is_empty() || !self.line.is_empty()
    }

    /// Puts the next packet into `buffer`, which has room for a header and some data; returns its length.
    /// Nothing is sent, and `None` returned, if all who stand in line turn out to have nothing to say.
    pub fn send(&mut self, mut buffer: Buffers<'_>) -> Option<usize> {
        let mut data = buffer.split_off(HEADER_LEN);
        if let Some(header) = self.next_reset() {
            buffer.copy_from(&header.to_bytes());
            return Some(HEADER_LEN);
        }
        while let Some(port) = self.line.pop_front() {
            let Some(connection) = self.connections.get_mut(&port) else {
                continue;
            };
            connection.in_line = false;
            let guest_port = connection.guest_port;
            let outgoing = connection.next_outgoing(&mut data);
            self.settle(port);
            if let Some(outgoing) = outgoing {
                buffer.copy_from(&self.header(port, guest_port, outgoing).to_bytes());
                return Some(HEADER_LEN + outgoing.len as usize);
            }
        }
        None
    }

    /// The next reset that belongs to no connection of this life.
    fn next_reset(&mut self) -> Option<Header> {
        let farewell = self.farewells.pop_front().map(|ports| StrayReset {
            cid: HOST_CID,
            ports,
        });
        let StrayReset { cid, ports } = farewell.or_else(|| self.resets.pop_front())?;
        Some(Header {
            src_cid: cid,
            dst_cid: self.guest_cid,
            src_port: ports.host,
            dst_port: ports.guest,
            kind: TYPE_STREAM,
            op: Op::Reset as u16,
            ..Header::default()
        })
    }

    /// What another life must know of this one.
    pub fn save(&self) -> VsockState {
        let known = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_known_to_guest())
            .map(|(&host, connection)| Ports {
                host,
                guest: connection.guest_port,
            });
        let mut connections: Vec<Ports> = self.farewells.iter().copied().chain(known).collect();
        // So that the same VM gives the same bytes.
        connections.sort_unstable();
        VsockState {
            next_port: self.next_port,
            connections,
            resets: self.resets.iter().copied().collect(),
        }
    }

    /// Says farewell to the connections of another life, in front of anything this one says.
    pub fn restore(&mut self, state: &VsockState) -> Result<(), RestoreError> {
        let ports = FIRST_PORT..=LAST_PORT;
        let hosts = state.connections.iter().map(|ports| ports.host);
        if let Some(found) = hosts
            .chain([state.next_port])
            .find(|port| !ports.contains(port))
        {
            return Err(RestoreError::HostPort { found });
        }
        self.next_port = state.next_port;
        self.farewells = state.connections.iter().copied().collect();
        self.resets = state.resets.iter().copied().take(MAX_RESETS).collect();
        Ok(())
    }

    fn header(&self, port: u32, guest_port: u32, outgoing: Outgoing) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.guest_cid,
            src_port: port,
            dst_port: guest_port,
            len: outgoing.len,
            kind: TYPE_STREAM,
            op: outgoing.op as u16,
            flags: outgoing.flags,
            buf_alloc: outgoing.buf_alloc,
            fwd_cnt: outgoing.fwd_cnt,
        }
    }
}
