//! Datagrams: a socket of the host per pair of ends, for as long as it is used. Echo requests go the same way.

use crate::link::{Frame, Link};
use crate::lost::{Kind, Lost};
use crate::outbox::Outbox;
use crate::policy::Protocol;
use crate::poll::{Poll, Token};
use crate::socket;
use crate::table::Table;
use crate::tcp::Flushed;
use crate::wire::{Checksum, Headers, Unreachable, echo_reply, unreachable};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Flows at most; one more ends the one that was idle for longest.
const MAX_FLOWS: usize = 4096;
/// How long a flow may be idle (RFC 4787 asks for two minutes), and one that asks a name server.
const IDLE: Duration = Duration::from_secs(180);
const IDLE_DNS: Duration = Duration::from_secs(20);
/// How often idle ones are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Datagrams one flow gives the guest before others get their turn.
const TURN: usize = 64;

/// What a flow is found by. The port of a ping is its identifier.
pub(crate) type Key = (Protocol, SocketAddr, SocketAddr);

#[derive(Debug)]
enum Way {
    /// A socket of its own, connected to the other end.
    Own(UdpSocket),
    /// A published port's, to this client.
    Published(Arc<UdpSocket>, SocketAddr),
}

#[derive(Debug)]
struct Flow {
    key: Key,
    way: Way,
    queued: bool,
    touched: Instant,
}

/// Every flow of datagrams.
pub(crate) struct Datagrams {
    flows: Table<Flow>,
    by_key: HashMap<Key, u32>,
    waiting: VecDeque<u32>,
    next_sweep: Instant,
    headers: Headers,
    scratch: Vec<u8>,
}

impl Datagrams {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            flows: Table::default(),
            by_key: HashMap::new(),
            waiting: VecDeque::new(),
            next_sweep: now + SWEEP,
            headers: Headers::default(),
            scratch: vec![0; 65_536],
        }
    }

    /// Whether there is such a flow.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// Opens a flow to where its other end really is.
    pub(crate) fn open(
        &mut self,
        key: Key,
        to: SocketAddr,
        poll: &Poll,
        now: Instant,
    ) -> io::Result<()> {
        let socket = match key.0 {
            Protocol::Ping => socket::connect_ping(to),
            _ => socket::connect_udp(to),
        }?;
        self.make_room();
        poll.add(&socket, Token::Datagrams(self.flows.next_place()))?;
        self.insert(key, Way::Own(socket), now);
        Ok(())
    }

    /// Opens a flow for a client of a published port.
    pub(crate) fn publish(
        &mut self,
        key: Key,
        socket: Arc<UdpSocket>,
        client: SocketAddr,
        now: Instant,
    ) {
        match self
            .by_key
            .get(&key)
            .and_then(|&place| self.flows.get_mut(place))
        {
            Some(flow) => flow.touched = now,
            None => {
                self.make_room();
                self.insert(key, Way::Published(socket, client), now);
            }
        }
    }

    fn insert(&mut self, key: Key, way: Way, now: Instant) {
        let flow = Flow {
            key,
            way,
            queued: false,
            touched: now,
        };
        let place = self.flows.insert(flow);
        self.by_key.insert(key, place);
    }

    fn make_room(&mut self) {
        if self.flows.len() >= MAX_FLOWS
            && let Some((place, _)) = self.flows.iter().min_by_key(|(_, flow)| flow.touched)
        {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: u32) {
        if let Some(flow) = self.flows.remove(place) {
            self.by_key.remove(&flow.key);
        }
    }

    /// The flows that the guest began.
    pub(crate) fn begun_by_guest(&self) -> Vec<Key> {
        let own = |flow: &&Flow| matches!(flow.way, Way::Own(_));
        let flows = self.flows.iter().map(|(_, flow)| flow);
        flows.filter(own).map(|flow| flow.key).collect()
    }

    /// Ends a flow that may not be any more, and says so to who waits for answers.
    pub(crate) fn forbid(&mut self, key: &Key, outbox: &mut Outbox) {
        if let Some(&place) = self.by_key.get(key) {
            self.remove(place);
            let frame = refusal(outbox.mac(), *key, &[], Unreachable::Prohibited);
            outbox.push_owed(frame);
        }
    }

    /// Sends a datagram of the guest's on a flow there is. What the socket has no room for is lost, as on any network.
    pub(crate) fn send(&mut self, key: &Key, payload: &[u8], outbox: &mut Outbox, now: Instant) {
        let Some(flow) = self
            .by_key
            .get(key)
            .and_then(|&place| self.flows.get_mut(place))
        else {
            return;
        };
        flow.touched = now;
        let sent = match &flow.way {
            Way::Own(socket) => socket.send(payload),
            Way::Published(socket, client) => socket.send_to(payload, *client),
        };
        if let Err(error) = sent {
            tell(flow.key, &error, payload, outbox);
        }
    }

    /// A socket became readable.
    pub(crate) fn ready(&mut self, place: u32) {
        if let Some(flow) = self.flows.get_mut(place)
            && !std::mem::replace(&mut flow.queued, true)
        {
            self.waiting.push_back(place);
        }
    }

    /// Gives the guest what has come.
    pub(crate) fn flush(
        &mut self,
        link: &mut dyn Link,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Flushed {
        for _ in 0..self.waiting.len() {
            let Some(place) = self.waiting.pop_front() else {
                break;
            };
            match self.receive(place, link, outbox, now) {
                Flushed::All => {}
                Flushed::More => self.waiting.push_back(place),
                Flushed::Blocked => {
                    self.waiting.push_front(place);
                    return Flushed::Blocked;
                }
            }
        }
        if self.waiting.is_empty() {
            Flushed::All
        } else {
            Flushed::More
        }
    }

    fn receive(
        &mut self,
        place: u32,
        link: &mut dyn Link,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Flushed {
        let Some(flow) = self.flows.get_mut(place) else {
            return Flushed::All;
        };
        let Way::Own(socket) = &flow.way else {
            return Flushed::All;
        };
        for _ in 0..TURN {
            // Looked at first: a datagram the link has no room for stays where it is.
            match socket.peek(&mut self.scratch) {
                Ok(count) => {
                    flow.touched = now;
                    let payload = &self.scratch[..count];
                    if !deliver(&flow.key, payload, link, outbox, &mut self.headers) {
                        return Flushed::Blocked;
                    }
                    let _ = socket.recv(&mut self.scratch[..1]);
                }
                Err(error) if socket::would_wait(&error) => {
                    flow.queued = false;
                    return Flushed::All;
                }
                Err(error) => tell(flow.key, &error, &[], outbox),
            }
        }
        Flushed::More
    }

    /// The flows a copy of the guest would wait for answers on.
    pub(crate) fn flows(&self, mac: [u8; 6]) -> impl Iterator<Item = Lost> {
        let udp = self.flows.iter().map(|(_, flow)| flow.key);
        let udp = udp.filter(|(protocol, ..)| *protocol == Protocol::Udp);
        udp.map(move |(_, guest, remote)| Lost {
            mac,
            guest,
            remote,
            kind: Kind::Udp,
        })
    }

    /// When [`Datagrams::expire`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.flows.len() > 0).then_some(self.next_sweep)
    }

    /// Ends what was idle for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let limit = |flow: &Flow| {
            if flow.key.2.port() == 53 {
                IDLE_DNS
            } else {
                IDLE
            }
        };
        let over = self
            .flows
            .iter()
            .filter(|(_, flow)| now.duration_since(flow.touched) > limit(flow));
        let over: Vec<u32> = over.map(|(place, _)| place).collect();
        over.into_iter().for_each(|place| self.remove(place));
    }
}

fn deliver(
    key: &Key,
    payload: &[u8],
    link: &mut dyn Link,
    outbox: &Outbox,
    headers: &mut Headers,
) -> bool {
    let &(protocol, guest, remote) = key;
    if protocol == Protocol::Ping {
        // The kernel's identifier is its own; the guest's is the flow's.
        let Some((&[_, _, _, _, _, _, high, low], body)) = payload.split_first_chunk() else {
            return true;
        };
        let sequence = u16::from_be_bytes([high, low]);
        let ends = (remote.ip(), guest.ip());
        let bytes = echo_reply(outbox.mac(), ends, (guest.port(), sequence), body);
        let frame = Frame {
            header: &bytes,
            payload: &[],
            checksum: None,
            segmentation: None,
        };
        return link.send(&frame);
    }
    headers.udp(outbox.mac(), (remote, guest), (payload, Checksum::Guest));
    link.send(&Frame {
        header: headers.bytes(),
        payload,
        checksum: Some(headers.checksum_place()),
        segmentation: None,
    })
}

/// Tells the guest what became of its datagram, if it is more than a lack of room.
fn tell(key: Key, error: &io::Error, payload: &[u8], outbox: &mut Outbox) {
    if socket::would_wait(error) || error.raw_os_error() == Some(NO_ROOM) {
        return;
    }
    let why = socket::verdict(error).unwrap_or(Unreachable::Port);
    refuse(key, payload, why, outbox);
}

const NO_ROOM: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

/// Says that a datagram did not get through.
pub(crate) fn refuse(key: Key, payload: &[u8], why: Unreachable, outbox: &mut Outbox) {
    let frame = refusal(outbox.mac(), key, payload, why);
    outbox.push(frame);
}

/// Says that the other end of a flow is closed.
pub(crate) fn closed(mac: [u8; 6], key: Key) -> Vec<u8> {
    refusal(mac, key, &[], Unreachable::Port)
}

fn refusal(
    mac: [u8; 6],
    (protocol, guest, remote): Key,
    payload: &[u8],
    why: Unreachable,
) -> Vec<u8> {
    let mut first = [0; 8];
    match protocol {
        Protocol::Ping => {
            first[0] = if guest.is_ipv4() { 8 } else { 128 };
            first[4..6].copy_from_slice(&guest.port().to_be_bytes());
            if let Some(sequence) = payload.get(6..8) {
                first[6..].copy_from_slice(sequence);
            }
        }
        _ => {
            first[..2].copy_from_slice(&guest.port().to_be_bytes());
            first[2..4].copy_from_slice(&remote.port().to_be_bytes());
            first[4..6].copy_from_slice(&(payload.len() as u16 + 8).to_be_bytes());
        }
    }
    unreachable(mac, protocol, (guest, remote), first, why)
}
