//! Everything together: a frame or a socket's readiness in, the right room for it.

use crate::addresses::{Addresses, Subnet, gateway_like, is_gateway};
use crate::dns::{self, Desk, Resolver, Upstream};
use crate::link::Link;
use crate::local::OwnAddresses;
use crate::lost::Lost;
use crate::members::Members;
use crate::meter::{Limits, Meter, Traffic};
use crate::outbox::Outbox;
use crate::policy::{Decision, Facts, Names, Policy, Protocol, v4_inside};
use crate::poll::{Poll, Ready, Token};
use crate::publish::{Published, seen_by_guest};
use crate::socket;
use crate::tcp::{Flushed, Tcp};
use crate::udp::{self, Datagrams, Key};
use crate::wire::{self, Packet, Segment, Unreachable};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames of the guest's looked at in one turn.
const FRAMES: usize = 256;
/// Clients of one port taken in one turn, and datagrams.
const CLIENTS: usize = 64;
/// Refusals told, each once: a guest must not make everybody forget what else happened to it.
const MAX_TOLD: usize = 64;

/// What a network is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The guest's addresses.
    pub addresses: Addresses,
    /// Who may talk to whom.
    pub policy: Policy,
    /// How much may pass.
    pub limits: Limits,
    /// Who answers questions for names.
    pub upstream: Upstream,
    /// The network that the guest is a member of, if it is.
    pub subnet: Option<Subnet>,
}

/// What only the owner of a stack can know: who else is a member of the guest's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quest {
    /// A way to the member with this address; answered by [`Stack::meet`] or [`Stack::miss`].
    Member(Ipv4Addr),
    /// Who has this name, in lower case; answered by [`Stack::named`].
    Name(String),
}

/// A flow that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of flow.
    pub protocol: Protocol,
    /// Where to.
    pub destination: SocketAddr,
    /// The rule, or what kind of address it is.
    pub reason: String,
}

/// How old a flow is that is decided upon.
#[derive(Debug, Clone, Copy)]
enum Age {
    /// It begins now.
    New(Instant),
    /// Other rules held when it began.
    UnderWay,
}

/// Waits for a stack's sockets and what else is to be waited for.
#[derive(Debug, Clone)]
pub struct Waiter(Arc<Poll>);

/// What is ready; for [`Stack::turn`].
#[derive(Debug, Default)]
pub struct Woken(Vec<Ready>);

impl Waiter {
    /// Adds something that is not the stack's: [`Woken::by_owner`] says when it can be read.
    pub fn watch(&self, source: impl AsFd) -> io::Result<()> {
        self.0.add_level(source, Token::Owner)
    }

    /// Waits until something is ready, at most [`Stack::patience`].
    pub fn wait(&self, patience: Duration) -> io::Result<Woken> {
        Ok(Woken(self.0.wait(Some(patience))?))
    }
}

impl Woken {
    /// Whether what the stack's owner watches can be read.
    pub fn by_owner(&self) -> bool {
        self.0.iter().any(|ready| ready.token == Token::Owner)
    }
}

/// The network of one VM.
pub struct Stack {
    addresses: Addresses,
    policy: Policy,
    names: Names,
    own: OwnAddresses,
    poll: Arc<Poll>,
    meter: Meter,
    outbox: Outbox,
    tcp: Tcp,
    datagrams: Datagrams,
    /// Of the three kinds of flows.
    first_flushed: usize,
    resolver: Resolver,
    members: Option<Members>,
    published: Vec<Published>,
    ready: Vec<Ready>,
    frame: Vec<u8>,
    blocked: bool,
    more: bool,
    refused: u64,
    told: std::collections::HashSet<(Protocol, SocketAddr)>,
    untold: Vec<Refusal>,
}

impl Stack {
    /// A network that nothing has happened on yet. The listeners are made not to wait.
    pub fn new(config: Config, published: Vec<Published>) -> io::Result<Self> {
        let now = Instant::now();
        let poll = Arc::new(Poll::new()?);
        for (index, port) in published.iter().enumerate() {
            let token = Token::Published(index as u32);
            match port {
                Published::Tcp(listener, _) => {
                    listener.set_nonblocking(true)?;
                    poll.add(listener, token)?;
                }
                Published::Udp(socket, _) => {
                    socket.set_nonblocking(true)?;
                    poll.add(socket.as_fd(), token)?;
                }
            }
        }
        let mut meter = Meter::default();
        meter.limit(config.limits, now);
        let own = config.addresses.v4;
        let resolver = Resolver::new(config.upstream);
        Ok(Self {
            meter,
            members: config.subnet.map(|subnet| Members::new(subnet, own)),
            resolver: match config.subnet {
                Some(_) => resolver.with_members(),
                None => resolver,
            },
            outbox: Outbox::new(config.addresses.mac),
            addresses: config.addresses,
            policy: config.policy,
            names: Names::default(),
            own: OwnAddresses::new(),
            poll,
            tcp: Tcp::new(now),
            datagrams: Datagrams::new(now),
            first_flushed: 0,
            published,
            ready: Vec::new(),
            frame: Vec::new(),
            blocked: false,
            more: false,
            refused: 0,
            told: std::collections::HashSet::new(),
            untold: Vec::new(),
        })
    }

    /// What to wait with, while the stack itself is left to others.
    pub fn waiter(&self) -> Waiter {
        Waiter(Arc::clone(&self.poll))
    }

    /// How long to wait at most.
    pub fn patience(&self) -> Duration {
        if self.more {
            return Duration::ZERO;
        }
        // A little late rather than a little early, which would be a turn for nothing.
        let left = self.deadline().saturating_duration_since(Instant::now());
        left + Duration::from_millis(1)
    }

    fn deadline(&self) -> Instant {
        let others = [
            self.datagrams.deadline(),
            self.resolver.deadline(),
            self.meter.deadline(),
        ];
        let first = others.into_iter().flatten().min();
        first.map_or(self.tcp.deadline(), |first| first.min(self.tcp.deadline()))
    }

    /// Does what there is to do, a bounded amount of it.
    pub fn turn(&mut self, link: &mut dyn Link, woken: Woken) {
        let now = Instant::now();
        for ready in std::mem::take(&mut self.ready).into_iter().chain(woken.0) {
            self.socket_ready(ready, now);
        }
        self.expire(now);
        let mut meter = std::mem::take(&mut self.meter);
        let link = &mut meter.over(link, now);
        let more_frames = self.take_frames(link, now);
        self.blocked = !self.outbox.flush(link);
        let mut flushed = [Flushed::Blocked; 3];
        if !self.blocked {
            flushed = self.flush_flows(link, now);
            // What those had to say about flows that ended.
            self.blocked = !self.outbox.flush(link) || flushed.contains(&Flushed::Blocked);
        }
        self.meter = meter;
        self.more = more_frames
            || !self.ready.is_empty()
            || (!self.blocked && flushed.contains(&Flushed::More));
    }

    /// What little a limit lets pass is for all kinds of flows in turns.
    fn flush_flows(&mut self, link: &mut dyn Link, now: Instant) -> [Flushed; 3] {
        self.first_flushed = self.first_flushed.wrapping_add(1);
        let mut flushed = [Flushed::All; 3];
        for step in 0..flushed.len() {
            let kind = (self.first_flushed + step) % flushed.len();
            flushed[kind] = match (kind, &mut self.members) {
                (0, _) => self.tcp.flush(link, &mut self.outbox, now),
                (1, _) => self.datagrams.flush(link, &mut self.outbox, now),
                (_, Some(members)) => members.flush(link, &mut self.outbox),
                (_, None) => Flushed::All,
            };
        }
        flushed
    }

    /// Whether frames wait for room on the link: call [`Stack::turn`] when there is some.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The flows there are, for a copy of the guest.
    pub fn flows(&self) -> Vec<Lost> {
        let mac = self.outbox.mac();
        let members = self.members.iter();
        let members = members.flat_map(|members| members.connections(mac));
        let connections = self.tcp.connections(mac).chain(members);
        connections.chain(self.datagrams.flows(mac)).collect()
    }

    /// What the owner is to find out. Each is asked once, until it is answered.
    pub fn take_quests(&mut self) -> Vec<Quest> {
        let names = self.resolver.take_unasked().into_iter().map(Quest::Name);
        let addresses = self.members.as_mut().map(Members::take_unasked);
        let addresses = addresses.into_iter().flatten().map(Quest::Member);
        addresses.chain(names).collect()
    }

    /// A way to another member: the end of a pair of sequenced-packet sockets whose other end is with that member's
    /// stack.
    pub fn meet(&mut self, address: Ipv4Addr, channel: OwnedFd) {
        if let Some(members) = &mut self.members {
            members.meet(address, channel, (&self.poll, &mut self.outbox));
            self.poll.tell();
        }
    }

    /// No member has this address.
    pub fn miss(&mut self, address: Ipv4Addr) {
        if let Some(members) = &mut self.members {
            members.miss(address, &mut self.outbox);
            self.poll.tell();
        }
    }

    /// Who of the members has a name, if one has.
    pub fn named(&mut self, name: &str, member: Option<Ipv4Addr>) {
        let (resolver, mut desk) = self.desk(Instant::now());
        resolver.named(name, member, &mut desk);
        self.poll.tell();
    }

    /// Tells the guest, a copy, that the flows it remembers are no more. Whatever it asks the gateway later is answered
    /// later.
    pub fn lose(&mut self, flows: &[Lost]) {
        for lost in flows {
            self.outbox.push_owed(lost.frame());
        }
    }

    /// Has other rules hold from now on. Flows that they refuse end at once, and both sides hear of it: the guest by what
    /// [`Stack::turn`] sends it next.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        // What these rules refuse was not told yet.
        self.told.clear();
        for (place, remote) in self.tcp.begun_by_guest() {
            if self.decide(Protocol::Tcp, remote, Age::UnderWay).is_none() {
                self.tcp.forbid(place, &mut self.outbox);
            }
        }
        for key in self.datagrams.begun_by_guest() {
            if self.decide(key.0, key.2, Age::UnderWay).is_none() {
                self.datagrams.forbid(&key, &mut self.outbox);
            }
        }
    }

    /// Has other limits hold from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.meter.limit(limits, Instant::now());
    }

    /// What has passed the link so far.
    pub const fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    /// Refusals that were not seen before, and the number of all.
    pub fn take_refusals(&mut self) -> (Vec<Refusal>, u64) {
        (std::mem::take(&mut self.untold), self.refused)
    }

    fn expire(&mut self, now: Instant) {
        self.tcp.expire(now, &mut self.outbox);
        self.datagrams.expire(now);
        let (resolver, mut desk) = self.desk(now);
        resolver.expire(&mut desk);
    }

    fn desk(&mut self, now: Instant) -> (&mut Resolver, Desk<'_>) {
        let desk = Desk {
            poll: &self.poll,
            outbox: &mut self.outbox,
            names: &mut self.names,
            now,
        };
        (&mut self.resolver, desk)
    }

    fn take_frames(&mut self, link: &mut dyn Link, now: Instant) -> bool {
        let mut frame = std::mem::take(&mut self.frame);
        let mut count = 0;
        while count < FRAMES && link.receive(&mut frame) {
            count += 1;
            if let Some(members) = &mut self.members
                && members.take(&frame, &mut self.outbox)
            {
                continue;
            }
            if let (Some(packet), Some(sender)) = (wire::parse(&frame), wire::sender(&frame)) {
                self.packet(&packet, sender, now);
            }
        }
        self.frame = frame;
        count == FRAMES
    }

    /// The gateway itself answers whoever asks, at the address it asks from: a copy asks as who it was, and becomes
    /// another one when it has the answer.
    fn packet(&mut self, packet: &Packet<'_>, mac: [u8; 6], now: Instant) {
        match *packet {
            Packet::Who { from, asked } if asked != from && asked != self.addresses.v4 => {
                self.outbox.push(wire::arp_reply(mac, from, asked));
            }
            // Without a sender it asks whether its own address is taken.
            Packet::WhoV6 { from, asked }
                if !from.is_unspecified() && Some(asked) != self.addresses.v6 =>
            {
                self.outbox
                    .push(wire::neighbor_advertisement(mac, from, asked));
            }
            Packet::Who { .. } | Packet::WhoV6 { .. } => {}
            Packet::Tcp { from, to, segment } if self.addresses.owns(from.ip()) => {
                self.segment((from, to), &segment, now);
            }
            Packet::Udp { from, to, payload } if self.addresses.owns(from.ip()) => {
                self.datagram((from, to), payload, now);
            }
            Packet::Echo {
                from,
                to,
                ident,
                sequence,
                payload,
            } if is_gateway(to) => {
                let echo = wire::echo_reply(mac, (to, from), (ident, sequence), payload);
                self.outbox.push(echo);
            }
            Packet::Echo {
                from,
                to,
                ident,
                sequence,
                payload,
            } if self.addresses.owns(from) => {
                self.echo((from, to), (ident, sequence), payload, now);
            }
            // From an address that is not the guest's.
            Packet::Tcp { .. } | Packet::Udp { .. } | Packet::Echo { .. } => {}
        }
    }

    fn segment(&mut self, ends: (SocketAddr, SocketAddr), segment: &Segment<'_>, now: Instant) {
        if self.tcp.knows(ends) {
            return self.tcp.segment(ends, segment, &mut self.outbox, now);
        }
        let begins = segment.syn && segment.ack.is_none() && !segment.rst;
        let Some(to) = self
            .decide(Protocol::Tcp, ends.1, Age::New(now))
            .filter(|_| begins)
        else {
            return Tcp::deny(ends, segment, &mut self.outbox);
        };
        self.tcp
            .connect((ends, to), segment, (&self.poll, &mut self.outbox), now);
    }

    /// Where a flow really goes. `None`: nowhere.
    fn decide(&mut self, protocol: Protocol, to: SocketAddr, age: Age) -> Option<SocketAddr> {
        if dns::is_resolver(to) {
            let server = self.resolver.server();
            return server.filter(|_| self.policy.answers_names());
        }
        let real = match to.ip() {
            IpAddr::V4(_) if is_gateway(to.ip()) => {
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), to.port())
            }
            IpAddr::V6(_) if is_gateway(to.ip()) => {
                SocketAddr::new(Ipv6Addr::LOCALHOST.into(), to.port())
            }
            _ => to,
        };
        let inside = v4_inside(real.ip()).map(IpAddr::V4);
        let own = self.own.contain(real.ip()) || inside.is_some_and(|v4| self.own.contain(v4));
        let names = match age {
            _ if !self.policy.needs_names() => Vec::new(),
            Age::New(now) => self.names.of(real.ip(), now),
            Age::UnderWay => self.names.once_of(real.ip()),
        };
        match self
            .policy
            .decide(protocol, real, Facts { own, names: &names })
        {
            Decision::Allowed => Some(real),
            Decision::Refused(reason) => {
                self.note(Refusal {
                    protocol,
                    destination: to,
                    reason,
                });
                None
            }
        }
    }

    fn note(&mut self, refusal: Refusal) {
        self.refused += 1;
        if self.told.len() < MAX_TOLD && self.told.insert((refusal.protocol, refusal.destination)) {
            self.untold.push(refusal);
        }
    }

    fn datagram(&mut self, (from, to): (SocketAddr, SocketAddr), payload: &[u8], now: Instant) {
        if dns::is_resolver(to) {
            let answers = self.policy.answers_names();
            let (resolver, mut desk) = self.desk(now);
            return match answers {
                true => resolver.ask((from, to), payload, &mut desk),
                false => dns::refuse((from, to), payload, desk.outbox),
            };
        }
        self.pass_on((Protocol::Udp, from, to), payload, now);
    }

    fn echo(
        &mut self,
        (from, to): (IpAddr, IpAddr),
        (ident, sequence): (u16, u16),
        payload: &[u8],
        now: Instant,
    ) {
        let key = (
            Protocol::Ping,
            SocketAddr::new(from, ident),
            SocketAddr::new(to, 0),
        );
        let kind = if from.is_ipv4() { 8 } else { 128 };
        let [high, low] = sequence.to_be_bytes();
        let message = [&[kind, 0, 0, 0, 0, 0, high, low], payload].concat();
        self.pass_on(key, &message, now);
    }

    fn pass_on(&mut self, key: Key, payload: &[u8], now: Instant) {
        if !self.datagrams.knows(&key) {
            // Nobody answers to many, and asking many is not for a guest.
            let Some(to) = self.decide(key.0, key.2, Age::New(now)) else {
                return udp::refuse(key, payload, Unreachable::Prohibited, &mut self.outbox);
            };
            if let Err(error) = self.datagrams.open(key, to, &self.poll, now) {
                let why = socket::verdict(&error).unwrap_or(Unreachable::Port);
                return udp::refuse(key, payload, why, &mut self.outbox);
            }
        }
        self.datagrams.send(&key, payload, &mut self.outbox, now);
    }

    fn socket_ready(&mut self, ready: Ready, now: Instant) {
        match ready.token {
            Token::Owner | Token::Told => {}
            Token::Member(place) => {
                if let Some(members) = &mut self.members {
                    let possible = (ready.readable, ready.writable);
                    members.ready(place, possible, &mut self.outbox);
                }
            }
            Token::Tcp(place) => {
                self.tcp
                    .ready(place, ready.readable, ready.writable, &mut self.outbox);
            }
            Token::Datagrams(place) if ready.readable => self.datagrams.ready(place),
            Token::Query(place) if ready.readable => {
                let (resolver, mut desk) = self.desk(now);
                resolver.ready(place, &mut desk);
            }
            Token::Published(index) if ready.readable => self.clients(ready, index, now),
            Token::Datagrams(_) | Token::Query(_) | Token::Published(_) => {}
        }
    }

    fn clients(&mut self, ready: Ready, index: u32, now: Instant) {
        let turn = match &self.published[index as usize] {
            Published::Tcp(listener, port) => {
                let (accepted, more) = accept(listener);
                (accepted, Vec::new(), None, *port, more)
            }
            Published::Udp(socket, port) => {
                let (received, more) = receive(socket);
                (Vec::new(), received, Some(Arc::clone(socket)), *port, more)
            }
        };
        let (accepted, received, socket, port, more) = turn;
        for (stream, client) in accepted {
            self.client(stream, client, port, now);
        }
        for (payload, client) in received {
            if let Some(socket) = &socket {
                self.client_datagram((socket, client), port, &payload, now);
            }
        }
        if more {
            // Edges come once: look again on the next turn.
            self.ready.push(ready);
        }
    }

    fn client(&mut self, stream: std::net::TcpStream, client: SocketAddr, port: u16, now: Instant) {
        let own = self.own.contain(client.ip());
        let mut seen = seen_by_guest(client, own, &self.addresses);
        let Some(guest) = self.addresses.like(seen.ip()) else {
            return;
        };
        let guest = SocketAddr::new(guest, port);
        // Two clients can only look the same when both are seen as the gateway.
        while self.tcp.knows((guest, seen)) {
            seen = SocketAddr::new(
                gateway_like(guest.ip()),
                seen.port().wrapping_add(1).max(1024),
            );
        }
        self.tcp.accept((guest, seen), stream, &self.poll, now);
    }

    fn client_datagram(
        &mut self,
        (socket, client): (&Arc<UdpSocket>, SocketAddr),
        port: u16,
        payload: &[u8],
        now: Instant,
    ) {
        let own = self.own.contain(client.ip());
        let seen = seen_by_guest(client, own, &self.addresses);
        let Some(guest) = self.addresses.like(seen.ip()) else {
            return;
        };
        let guest = SocketAddr::new(guest, port);
        let key = (Protocol::Udp, guest, seen);
        self.datagrams.publish(key, Arc::clone(socket), client, now);
        self.outbox.push_udp(seen, guest, payload);
    }
}

fn accept(listener: &TcpListener) -> (Vec<(std::net::TcpStream, SocketAddr)>, bool) {
    let mut accepted = Vec::new();
    while accepted.len() < CLIENTS {
        match listener.accept() {
            Ok((stream, client)) if stream.set_nonblocking(true).is_ok() => {
                accepted.push((stream, client));
            }
            Ok(_) => {}
            // Without descriptors left the rest waits for the next client.
            Err(_) => return (accepted, false),
        }
    }
    (accepted, true)
}

fn receive(socket: &UdpSocket) -> (Vec<(Vec<u8>, SocketAddr)>, bool) {
    let mut received = Vec::new();
    let mut buffer = [0; 65_536];
    while received.len() < CLIENTS {
        match socket.recv_from(&mut buffer) {
            Ok((count, client)) => received.push((buffer[..count].to_vec(), client)),
            Err(_) => return (received, false),
        }
    }
    (received, true)
}
