//! TCP: every connection of the guest ends here and goes on as a connection of the host's.
//!
//! A flow is found by its ends in one look-up. It keeps no buffer while it is idle: what comes from the socket is read
//! when the guest can take it and kept until it is acknowledged, what comes from the guest is kept only while the
//! socket is full. So a slow peer on either side slows the other one down, and nothing grows.

mod flow;
mod receiver;
mod reset;
mod sender;

pub(crate) use reset::of_connection as reset_of;

use crate::link::Link;
use crate::lost::{Kind, Lost};
use crate::outbox::Outbox;
use crate::policy::Protocol;
use crate::poll::{Poll, Token};
use crate::socket;
use crate::table::Table;
use crate::wire::{Headers, Segment, Unreachable, unreachable};
use flow::{Fate, Flow, Phase, Sent, Way};
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connections at most.
const MAX_FLOWS: usize = 16_384;
/// Bytes kept for all connections together.
const MAX_BUFFERED: usize = 64 << 20;
/// Bytes one flow sends before others get their turn.
const TURN: usize = 1 << 20;
/// The most that is read from a socket at once: what one segment can carry.
const READ: usize = 64 << 10;
/// How often idle flows are looked for, and how long half a connection may be idle.
const SWEEP: Duration = Duration::from_secs(60);
const HALF_IDLE: Duration = Duration::from_secs(600);
/// A connection nobody has used for so long is forgotten.
const IDLE: Duration = Duration::from_secs(24 * 3600);

type Ends = (SocketAddr, SocketAddr);

/// Every connection.
pub(crate) struct Tcp {
    flows: Table<Flow>,
    /// The guest's end and the other one.
    by_ends: HashMap<Ends, u32>,
    waiting: VecDeque<u32>,
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    next_sweep: Instant,
    buffered: usize,
    scratch: Vec<u8>,
    headers: Headers,
}

impl Tcp {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            flows: Table::default(),
            by_ends: HashMap::new(),
            waiting: VecDeque::new(),
            timers: BinaryHeap::new(),
            next_sweep: now + SWEEP,
            buffered: 0,
            scratch: vec![0; READ],
            headers: Headers::default(),
        }
    }

    /// Whether these ends are a connection's.
    pub(crate) fn knows(&self, ends: Ends) -> bool {
        self.by_ends.contains_key(&ends)
    }

    /// Begins a connection that the guest asks for; `to` is where its other end really is.
    pub(crate) fn connect(
        &mut self,
        (ends, to): (Ends, SocketAddr),
        syn: &Segment<'_>,
        (poll, outbox): (&Poll, &mut Outbox),
        now: Instant,
    ) {
        let begun = if self.flows.len() >= MAX_FLOWS {
            Err(Errno::CONNREFUSED)
        } else {
            socket::connect_tcp(to)
        };
        let added = begun.map_err(io::Error::from).and_then(|socket| {
            let flow = Flow::outbound(ends, socket, syn, random(), now);
            self.insert(flow, poll)
        });
        if let Err(error) = added {
            Self::refuse(ends, syn, &error, outbox);
        }
    }

    /// Passes a client of a published port on to the guest.
    pub(crate) fn accept(&mut self, ends: Ends, socket: TcpStream, poll: &Poll, now: Instant) {
        if self.flows.len() < MAX_FLOWS {
            socket::prepare(&socket);
            // A client that cannot be served is closed, which is all there is to say to it.
            if let Ok(place) = self.insert(Flow::inbound(ends, socket, random(), now), poll) {
                self.queue(place);
            }
        }
    }

    fn insert(&mut self, flow: Flow, poll: &Poll) -> io::Result<u32> {
        poll.add(&flow.socket, Token::Tcp(self.flows.next_place()))?;
        let ends = (flow.guest, flow.remote);
        let place = self.flows.insert(flow);
        self.by_ends.insert(ends, place);
        Ok(place)
    }

    /// Tells the guest why its connection cannot be.
    pub(crate) fn refuse(ends: Ends, syn: &Segment<'_>, error: &io::Error, outbox: &mut Outbox) {
        match socket::verdict(error) {
            None => Self::deny(ends, syn, outbox),
            Some(why) => outbox.push(bad_news(outbox.mac(), ends, syn.seq, why)),
        }
    }

    /// Answers a segment that belongs to no connection, or to one that may not be.
    pub(crate) fn deny(ends: Ends, segment: &Segment<'_>, outbox: &mut Outbox) {
        if let Some(frame) = reset::answer(outbox.mac(), ends, segment) {
            outbox.push(frame);
        }
    }

    /// A segment of a connection there is.
    pub(crate) fn segment(
        &mut self,
        ends: Ends,
        segment: &Segment<'_>,
        outbox: &mut Outbox,
        now: Instant,
    ) {
        let Some(&place) = self.by_ends.get(&ends) else {
            return;
        };
        let allowed = MAX_BUFFERED.saturating_sub(self.buffered);
        self.change(place, outbox, |flow| flow.segment(segment, allowed, now));
    }

    /// A socket became ready.
    pub(crate) fn ready(
        &mut self,
        place: u32,
        readable: bool,
        writable: bool,
        outbox: &mut Outbox,
    ) {
        self.change(place, outbox, |flow| flow.socket_ready(readable, writable));
    }

    fn change(&mut self, place: u32, outbox: &mut Outbox, act: impl FnOnce(&mut Flow) -> Fate) {
        let Some(flow) = self.flows.get_mut(place) else {
            return;
        };
        let before = flow.buffered();
        let fate = act(flow);
        self.buffered = self.buffered + flow.buffered() - before;
        match fate {
            Fate::Live => self.queue(place),
            fate => self.end(place, fate, outbox),
        }
    }

    fn queue(&mut self, place: u32) {
        if let Some(flow) = self.flows.get_mut(place)
            && !std::mem::replace(&mut flow.queued, true)
        {
            self.waiting.push_back(place);
        }
    }

    fn end(&mut self, place: u32, fate: Fate, outbox: &mut Outbox) {
        let Some(flow) = self.flows.remove(place) else {
            return;
        };
        self.by_ends.remove(&(flow.guest, flow.remote));
        self.buffered -= flow.buffered();
        match fate {
            Fate::Live | Fate::Done => {}
            Fate::Broken => {
                outbox.push(flow.reset_frame(outbox.mac()));
                flow.abort();
            }
            Fate::Unreachable(why) => {
                let syn = flow.receiver.nxt().wrapping_sub(1);
                outbox.push(bad_news(outbox.mac(), (flow.guest, flow.remote), syn, why));
            }
            Fate::Forbidden => {
                outbox.push_owed(flow.reset_frame(outbox.mac()));
                flow.abort();
            }
            Fate::ResetByGuest => flow.abort(),
        }
    }

    /// Sends what there is for the guest. False if there is more: because the link has no room, or because it was
    /// enough for one turn.
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
            let Some(flow) = self.flows.get_mut(place) else {
                continue;
            };
            let before = flow.buffered();
            let mut way = Way {
                link,
                headers: &mut self.headers,
                mac: outbox.mac(),
                scratch: &mut self.scratch,
                allowed: MAX_BUFFERED.saturating_sub(self.buffered),
            };
            let sent = flow.send(&mut way, now);
            self.buffered = self.buffered + flow.buffered() - before;
            if let Some(deadline) = flow.new_timer() {
                self.timers.push(Reverse((deadline, place)));
            }
            match sent {
                Ok(Sent::All) => flow.queued = false,
                Ok(Sent::More) => self.waiting.push_back(place),
                // The next room is for the next one.
                Ok(Sent::Blocked) => {
                    self.waiting.push_back(place);
                    return Flushed::Blocked;
                }
                Err(fate) => self.end(place, fate, outbox),
            }
        }
        if self.waiting.is_empty() {
            Flushed::All
        } else {
            Flushed::More
        }
    }

    /// When [`Tcp::expire`] wants to be called.
    pub(crate) fn deadline(&self) -> Instant {
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        timer.map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant, outbox: &mut Outbox) {
        while let Some(Reverse((at, place))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            let Some(flow) = self.flows.get_mut(place) else {
                continue;
            };
            match flow.timer_passed() {
                Some(due) if due > now => self.timers.push(Reverse((due, place))),
                Some(_) => self.change(place, outbox, Flow::expire),
                None => {}
            }
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.sweep(now, outbox);
        }
    }

    fn sweep(&mut self, now: Instant, outbox: &mut Outbox) {
        let is_over = |flow: &Flow| {
            let limit = if flow.is_half() { HALF_IDLE } else { IDLE };
            flow.phase == Phase::Open && now.duration_since(flow.touched) > limit
        };
        let over = self.flows.iter().filter(|(_, flow)| is_over(flow));
        let over: Vec<u32> = over.map(|(place, _)| place).collect();
        for place in over {
            self.end(place, Fate::Broken, outbox);
        }
    }

    /// The connections that the guest began, and where they go as it sees it.
    pub(crate) fn begun_by_guest(&self) -> Vec<(u32, SocketAddr)> {
        let begun = self.flows.iter().filter(|(_, flow)| flow.is_outbound());
        begun.map(|(place, flow)| (place, flow.remote)).collect()
    }

    /// Ends a connection that may not be any more.
    pub(crate) fn forbid(&mut self, place: u32, outbox: &mut Outbox) {
        self.end(place, Fate::Forbidden, outbox);
    }

    /// What a copy of the guest would believe to be connected, or about to be: a SYN is refused by the same numbers.
    pub(crate) fn connections(&self, mac: [u8; 6]) -> impl Iterator<Item = Lost> {
        self.flows.iter().map(move |(_, flow)| Lost {
            mac,
            guest: flow.guest,
            remote: flow.remote,
            kind: Kind::Tcp {
                seq: flow.sender.nxt(),
                ack: flow.receiver.nxt(),
            },
        })
    }
}

/// How much was sent to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything there was.
    All,
    /// Enough for one turn.
    More,
    /// All there was room for.
    Blocked,
}

fn bad_news(mac: [u8; 6], (guest, remote): Ends, seq: u32, why: Unreachable) -> Vec<u8> {
    let mut first = [0; 8];
    first[..2].copy_from_slice(&guest.port().to_be_bytes());
    first[2..4].copy_from_slice(&remote.port().to_be_bytes());
    first[4..].copy_from_slice(&seq.to_be_bytes());
    unreachable(mac, Protocol::Tcp, (guest, remote), first, why)
}

/// A first sequence number that nobody else guesses.
fn random() -> u32 {
    let mut bytes = [0; 4];
    // The pool of a host that runs VMs has long been initialized; should it fail, zero works as well as any.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}
