//! One connection: the guest on one side, a socket of the host on the other.

use super::receiver::{Receiver, SCALE};
use super::sender::{Acked, Sender};
use crate::addresses::MTU;
use crate::link::{Frame, Link, Segmentation};
use crate::socket;
use crate::wire::{
    Checksum, ETHERNET, Headers, IPV4, IPV6, Segment, TCP, TcpHeader, Unreachable, flag,
};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long the guest has for an answer before it is asked again, and at most after many times.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(8);
/// Answers missed before a flow is given up: some 40 seconds.
const RETRIES: u32 = 9;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The host's socket is not connected yet; the guest has heard nothing.
    Connecting,
    /// The guest has our SYN, or will get it.
    Greeting,
    /// Both sides know of each other.
    Open,
}

/// Who began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The guest: our SYN acknowledges its own.
    Guest,
    /// A client of a published port.
    Client,
}

/// What is to become of a flow after something happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Live,
    /// Both sides have ended it.
    Done,
    /// The host's side broke, or we give up: reset both.
    Broken,
    /// The host cannot connect: tell the guest why.
    Unreachable(Unreachable),
    /// The guest reset it: reset the host's side.
    ResetByGuest,
    /// It may not be any more: reset both, whatever else there is to say.
    Forbidden,
}

/// How sending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Everything.
    All,
    /// There is more, and others wait.
    More,
    /// The link has no room.
    Blocked,
}

/// What sending takes.
pub(super) struct Way<'a> {
    pub(super) link: &'a mut dyn Link,
    pub(super) headers: &'a mut Headers,
    pub(super) mac: [u8; 6],
    /// Where bytes from sockets go first.
    pub(super) scratch: &'a mut [u8],
    /// Bytes that may be kept in addition.
    pub(super) allowed: usize,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) guest: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) socket: TcpStream,
    pub(super) phase: Phase,
    origin: Origin,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    readable: bool,
    ack_due: bool,
    greeting_due: bool,
    shut: bool,
    /// In the queue of those that have something to send.
    pub(super) queued: bool,
    deadline: Option<Instant>,
    /// Whether a timer runs that is not later than the deadline.
    timed: bool,
    retries: u32,
    pub(super) touched: Instant,
}

impl Flow {
    /// A connection the guest asks for, while the host's socket connects.
    pub(super) fn outbound(
        (guest, remote): (SocketAddr, SocketAddr),
        socket: TcpStream,
        syn: &Segment<'_>,
        initial: u32,
        now: Instant,
    ) -> Self {
        let mut flow = Self::new((guest, remote), socket, initial, now);
        flow.sender.learn(syn.mss, syn.scale, syn.window);
        flow.receiver = Receiver::new(syn.seq, syn.scale.is_some());
        flow
    }

    /// A connection of a client of a published port.
    pub(super) fn inbound(
        (guest, remote): (SocketAddr, SocketAddr),
        socket: TcpStream,
        initial: u32,
        now: Instant,
    ) -> Self {
        Self {
            phase: Phase::Greeting,
            origin: Origin::Client,
            greeting_due: true,
            ..Self::new((guest, remote), socket, initial, now)
        }
    }

    const fn new(
        (guest, remote): (SocketAddr, SocketAddr),
        socket: TcpStream,
        initial: u32,
        now: Instant,
    ) -> Self {
        Self {
            guest,
            remote,
            socket,
            phase: Phase::Connecting,
            origin: Origin::Guest,
            sender: Sender::new(initial),
            receiver: Receiver::new(0, true),
            readable: true,
            ack_due: false,
            greeting_due: false,
            shut: false,
            queued: false,
            deadline: None,
            timed: false,
            retries: 0,
            touched: now,
        }
    }

    /// Whether the guest began it.
    pub(super) fn is_outbound(&self) -> bool {
        self.origin == Origin::Guest
    }

    /// A time to look at it that nobody knows of yet.
    pub(super) const fn new_timer(&mut self) -> Option<Instant> {
        match self.deadline {
            Some(at) if !self.timed => {
                self.timed = true;
                Some(at)
            }
            _ => None,
        }
    }

    /// A time it was to be looked at has come. When it really wants to be, by [`Flow::expire`]: answers put it off.
    pub(super) const fn timer_passed(&mut self) -> Option<Instant> {
        self.timed = self.deadline.is_some();
        self.deadline
    }

    /// Whether one side has ended.
    pub(super) const fn is_half(&self) -> bool {
        self.receiver.has_ended() || self.sender.has_ended()
    }

    /// Bytes it keeps.
    pub(super) fn buffered(&self) -> usize {
        self.sender.buffered() + self.receiver.buffered()
    }

    /// The host's socket can be read or written.
    pub(super) fn socket_ready(&mut self, readable: bool, writable: bool) -> Fate {
        self.readable |= readable;
        if self.phase == Phase::Connecting {
            match self.socket.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => {
                    return socket::verdict(&error).map_or(Fate::Broken, Fate::Unreachable);
                }
            }
            // Ready by the way of it, before the connection stands.
            if !writable || self.socket.peer_addr().is_err() {
                return Fate::Live;
            }
            self.phase = Phase::Greeting;
            self.greeting_due = true;
        }
        if writable && self.phase == Phase::Open {
            return self.pass_on();
        }
        Fate::Live
    }

    /// Writes what is held for the socket, and the end behind it.
    fn pass_on(&mut self) -> Fate {
        match self.receiver.flush(&mut &self.socket) {
            Ok(true) if self.receiver.has_ended() && !self.shut => {
                self.shut = true;
                // It fails if the peer is gone already, which reading will tell.
                let _ = self.socket.shutdown(std::net::Shutdown::Write);
            }
            Ok(_) => {}
            Err(_) => return Fate::Broken,
        }
        self.ack_due |= self.receiver.owes_window();
        self.fate()
    }

    fn fate(&self) -> Fate {
        if self.shut && self.sender.is_done() && !self.ack_due {
            Fate::Done
        } else {
            Fate::Live
        }
    }

    /// A segment of the guest's.
    pub(super) fn segment(&mut self, segment: &Segment<'_>, allowed: usize, now: Instant) -> Fate {
        self.touched = now;
        match self.phase {
            Phase::Connecting if segment.rst => Fate::ResetByGuest,
            Phase::Connecting => Fate::Live,
            Phase::Greeting => self.greeted(segment, allowed, now),
            Phase::Open => self.open(segment, allowed, now),
        }
    }

    fn greeted(&mut self, segment: &Segment<'_>, allowed: usize, now: Instant) -> Fate {
        let acknowledged = segment.ack == Some(self.sender.una().wrapping_add(1));
        match (self.origin, segment.syn) {
            (Origin::Client, _) if segment.rst => {
                return if acknowledged {
                    Fate::ResetByGuest
                } else {
                    Fate::Live
                };
            }
            (Origin::Guest, _) if segment.rst => {
                let exact = segment.seq == self.receiver.nxt();
                return if exact {
                    Fate::ResetByGuest
                } else {
                    Fate::Live
                };
            }
            (Origin::Client, true) if acknowledged => {
                self.sender
                    .learn(segment.mss, segment.scale, segment.window);
                self.receiver = Receiver::new(segment.seq, segment.scale.is_some());
                self.begin();
                self.ack_due = true;
                return Fate::Live;
            }
            // The guest has not heard us.
            (Origin::Guest, true) => self.greeting_due = true,
            (Origin::Guest, false) if acknowledged => {
                self.begin();
                return self.open(segment, allowed, now);
            }
            _ => {}
        }
        Fate::Live
    }

    fn begin(&mut self) {
        self.phase = Phase::Open;
        self.sender.greeted();
        self.deadline = None;
        self.retries = 0;
    }

    fn open(&mut self, segment: &Segment<'_>, allowed: usize, now: Instant) -> Fate {
        if segment.rst {
            // Only an exact one is believed (RFC 5961).
            let exact = segment.seq == self.receiver.nxt();
            self.ack_due |= !exact;
            return if exact {
                Fate::ResetByGuest
            } else {
                Fate::Live
            };
        }
        if segment.syn {
            self.ack_due = true;
            return Fate::Live;
        }
        let bare = segment.payload.is_empty() && !segment.fin;
        match segment
            .ack
            .map(|ack| self.sender.acknowledge(ack, segment.window, bare))
        {
            Some(Acked::Progress) => {
                self.retries = 0;
                self.deadline = None;
                self.await_answer(now);
            }
            Some(Acked::Again) => self.sender.rewind(),
            Some(Acked::Impossible) => self.ack_due = true,
            Some(Acked::Nothing) | None => {}
        }
        let content = (segment.seq, segment.payload, segment.fin);
        match self.receiver.take(content, allowed, &mut &self.socket) {
            Ok(answer) => self.ack_due |= answer,
            Err(_) => return Fate::Broken,
        }
        if self.receiver.has_ended() {
            self.pass_on()
        } else {
            self.fate()
        }
    }

    fn await_answer(&mut self, now: Instant) {
        if self.deadline.is_none() && (self.sender.is_waiting() || self.phase == Phase::Greeting) {
            let wait = RETRY_FIRST
                .saturating_mul(1 << self.retries.min(16))
                .min(RETRY_MOST);
            self.deadline = Some(now + wait);
        }
    }

    /// The deadline has passed.
    pub(super) fn expire(&mut self) -> Fate {
        self.deadline = None;
        self.timed = false;
        self.retries += 1;
        if self.retries > RETRIES {
            return Fate::Broken;
        }
        match self.phase {
            Phase::Greeting => self.greeting_due = true,
            _ => self.sender.rewind(),
        }
        Fate::Live
    }

    /// Sends what there is for the guest, for a while.
    pub(super) fn send(&mut self, way: &mut Way<'_>, now: Instant) -> Result<Sent, Fate> {
        match self.phase {
            Phase::Connecting => return Ok(Sent::All),
            Phase::Greeting => {
                if self.greeting_due {
                    if !self.greet(way) {
                        return Ok(Sent::Blocked);
                    }
                    self.greeting_due = false;
                    self.await_answer(now);
                }
                return Ok(Sent::All);
            }
            Phase::Open => {}
        }
        let mut budget = super::TURN;
        while budget > 0 {
            let sent = self.send_one(way, now)?;
            match sent {
                Some(bytes) => budget = budget.saturating_sub(bytes),
                None => return Ok(Sent::Blocked),
            }
            if sent == Some(0) {
                return match self.fate() {
                    Fate::Live => Ok(Sent::All),
                    fate => Err(fate),
                };
            }
        }
        Ok(Sent::More)
    }

    /// One segment. `None`: no room. Nothing to send is zero bytes.
    fn send_one(&mut self, way: &mut Way<'_>, now: Instant) -> Result<Option<usize>, Fate> {
        let headers = if self.guest.is_ipv4() { IPV4 } else { IPV6 } + TCP;
        let most = usize::from(MTU).max(0xffff - headers - ETHERNET) - headers;
        let most = most.min(way.link.most());
        if self.sender.next(most).is_none() {
            self.fill(way).map_err(|_| Fate::Broken)?;
        }
        let count = self.sender.next(most).map_or(0, <[u8]>::len);
        let fin = count == 0 && self.sender.wants_fin();
        if count == 0 && !fin && !self.ack_due {
            return Ok(Some(0));
        }
        if !self.emit(way, most, fin) {
            return Ok(None);
        }
        self.ack_due = false;
        self.sender.advance(count.max(usize::from(fin)));
        if count > 0 || fin {
            self.touched = now;
            self.await_answer(now);
        }
        Ok(Some(count))
    }

    /// Reads as much as can be sent right away.
    fn fill(&mut self, way: &mut Way<'_>) -> io::Result<()> {
        let room = self.sender.room().min(way.allowed).min(way.scratch.len());
        if !self.readable || room == 0 {
            return Ok(());
        }
        match (&self.socket).read(&mut way.scratch[..room]) {
            Ok(0) => self.sender.end(),
            Ok(count) => {
                way.allowed -= count;
                self.sender.push(&way.scratch[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn emit(&mut self, way: &mut Way<'_>, most: usize, fin: bool) -> bool {
        let payload = self.sender.next(most).unwrap_or_default();
        let mut flags = flag::ACK;
        if fin {
            flags |= flag::FIN;
        }
        if !payload.is_empty() {
            flags |= flag::PSH;
        }
        let mss = usize::from(self.sender.mss());
        let segmentation = (payload.len() > mss).then_some(Segmentation {
            size: mss as u16,
            v6: self.guest.is_ipv6(),
        });
        let header = TcpHeader {
            seq: self.sender.nxt(),
            ack: self.receiver.nxt(),
            flags,
            window: self.receiver.tell(),
            options: &[],
        };
        let ends = (self.remote, self.guest);
        way.headers
            .tcp(way.mac, ends, &header, (payload, Checksum::Guest));
        way.link.send(&Frame {
            header: way.headers.bytes(),
            payload,
            checksum: Some(way.headers.checksum_place()),
            segmentation,
        })
    }

    /// Our SYN.
    fn greet(&mut self, way: &mut Way<'_>) -> bool {
        let headers = if self.guest.is_ipv4() { IPV4 } else { IPV6 } + TCP;
        let [high, low] = (MTU - headers as u16).to_be_bytes();
        let (flags, scale) = match self.origin {
            Origin::Guest => (flag::SYN | flag::ACK, self.receiver.is_scaled()),
            Origin::Client => (flag::SYN, true),
        };
        let options = [2, 4, high, low, 1, 3, 3, SCALE];
        let header = TcpHeader {
            seq: self.sender.una(),
            ack: self.receiver.nxt(),
            flags,
            window: u16::MAX,
            options: if scale { &options } else { &options[..4] },
        };
        let ends = (self.remote, self.guest);
        way.headers
            .tcp(way.mac, ends, &header, (&[], Checksum::Here));
        way.link.send(&Frame {
            header: way.headers.bytes(),
            payload: &[],
            checksum: None,
            segmentation: None,
        })
    }

    /// The reset that tells the guest of the end.
    pub(super) fn reset_frame(&self, mac: [u8; 6]) -> Vec<u8> {
        let header = TcpHeader {
            seq: if self.phase == Phase::Connecting {
                0
            } else {
                self.sender.nxt()
            },
            ack: self.receiver.nxt(),
            flags: flag::RST | flag::ACK,
            window: 0,
            options: &[],
        };
        super::reset::frame(mac, (self.remote, self.guest), &header)
    }

    /// Ends the host's side the hard way.
    pub(super) fn abort(&self) {
        socket::reset(&self.socket);
    }
}
