//! The other members of the guest's network.
//!
//! Packets go from guest to guest as they are, by a channel between their two stacks: the guests' kernels speak with
//! each other, and what one says is what the other hears, resets and ends of streams too. A stack knows no way to
//! anybody: for an address that it has no channel to it asks its owner, who makes one or says that nobody is there.
//! Neither side believes the other one: a packet from a channel has to come from the member at its other end.

mod channel;
mod marks;

use crate::addresses::Subnet;
use crate::link::{Frame, Link};
use crate::lost::Lost;
use crate::outbox::Outbox;
use crate::policy::Protocol;
use crate::poll::{Poll, Token};
use crate::table::Table;
use crate::tcp::{Flushed, Tcp};
use crate::udp;
use crate::wire::{self, Packet, Passing, Unreachable};
use channel::{Channel, Gone};
use marks::Marks;
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Channels at most: two members that seek each other in the same moment make two.
const MAX_CHANNELS: usize = 1024;
/// Bytes that wait for all members together.
const MAX_QUEUED: usize = 32 << 20;
/// Addresses sought at once, the packets that wait for each, and the bytes of all of them.
const MAX_SOUGHT: usize = 64;
const MAX_WAITING: usize = 8;
const MAX_HELD: usize = 1 << 20;
/// What a datagram for nobody is answered with. Linux keeps a mere "host unreachable" from the socket, which would wait.
const NOBODY: Unreachable = Unreachable::Prohibited;
/// Packets that one member gives the guest before others get their turn.
const TURN: usize = 64;

/// The members, as one of them sees the others.
pub(crate) struct Members {
    subnet: Subnet,
    own: Ipv4Addr,
    channels: Table<Channel>,
    ways: HashMap<Ipv4Addr, u32>,
    queued: usize,
    waiting: VecDeque<u32>,
    /// Frames for those whom the owner was asked for.
    sought: HashMap<Ipv4Addr, Vec<Vec<u8>>>,
    held: usize,
    unasked: Vec<Ipv4Addr>,
    marks: Marks,
    packet: Vec<u8>,
    frame: Vec<u8>,
}

impl Members {
    pub(crate) fn new(subnet: Subnet, own: Ipv4Addr) -> Self {
        Self {
            subnet,
            own,
            channels: Table::default(),
            ways: HashMap::new(),
            queued: 0,
            waiting: VecDeque::new(),
            sought: HashMap::new(),
            held: 0,
            unasked: Vec::new(),
            marks: Marks::default(),
            packet: vec![0; 65_536],
            frame: Vec::new(),
        }
    }

    /// Takes a frame of the guest's that is for a member, or for whoever uses an address of theirs. False if it is not.
    pub(crate) fn take(&mut self, frame: &[u8], outbox: &mut Outbox) -> bool {
        let to = frame.get(30..34).filter(|_| frame[12..14] == [8, 0]);
        let to = to.map(|octets| Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]));
        let Some(to) = to.filter(|to| self.subnet.contains(*to)) else {
            return false;
        };
        match Passing::of_frame(frame) {
            Some(passing) if passing.from == self.own && to != self.own => {
                self.pass_on(&passing, frame, outbox);
            }
            // Somebody else's sender, or nothing that passes.
            _ => {}
        }
        true
    }

    fn pass_on(&mut self, passing: &Passing<'_>, frame: &[u8], outbox: &mut Outbox) {
        while let Some(&place) = self.ways.get(&passing.to) {
            if self.send(place, passing).is_ok() {
                return;
            }
            self.close(place, outbox);
        }
        self.seek(passing.to, frame);
    }

    fn send(&mut self, place: u32, passing: &Passing<'_>) -> Result<(), Gone> {
        let room = MAX_QUEUED.saturating_sub(self.queued);
        let channel = self.channels.get_mut(place).ok_or(Gone)?;
        let before = channel.queued();
        let sent = channel.send(passing.bytes, room);
        self.queued = self.queued + channel.queued() - before;
        sent?;
        if let Some((ends, segment)) = passing.segment() {
            self.marks.sent(place, ends, &segment);
        }
        Ok(())
    }

    /// Asks the owner for a way, once, and keeps the frame until there is an answer.
    fn seek(&mut self, address: Ipv4Addr, frame: &[u8]) {
        if !self.sought.contains_key(&address) {
            if self.sought.len() >= MAX_SOUGHT {
                return;
            }
            self.unasked.push(address);
        }
        let frames = self.sought.entry(address).or_default();
        if frames.len() < MAX_WAITING && self.held + frame.len() <= MAX_HELD {
            self.held += frame.len();
            frames.push(frame.to_vec());
        }
    }

    /// The addresses that the owner is to look for.
    pub(crate) fn take_unasked(&mut self) -> Vec<Ipv4Addr> {
        std::mem::take(&mut self.unasked)
    }

    /// There is a way to a member: one that was looked for, or one that it made.
    pub(crate) fn meet(
        &mut self,
        address: Ipv4Addr,
        socket: OwnedFd,
        (poll, outbox): (&Poll, &mut Outbox),
    ) {
        let is_member = self.subnet.contains(address) && address != self.own;
        let watched = is_member
            && self.channels.len() < MAX_CHANNELS
            && poll
                .add(&socket, Token::Member(self.channels.next_place()))
                .is_ok();
        if !watched {
            return self.miss(address, outbox);
        }
        let place = self.channels.insert(Channel::new(address, socket));
        self.ways.insert(address, place);
        for frame in self.release(address) {
            self.take(&frame, outbox);
        }
    }

    /// Nobody has this address: what was sent there is answered.
    pub(crate) fn miss(&mut self, address: Ipv4Addr, outbox: &mut Outbox) {
        for frame in self.release(address) {
            bounce(&frame, outbox);
        }
    }

    fn release(&mut self, address: Ipv4Addr) -> Vec<Vec<u8>> {
        let frames = self.sought.remove(&address).unwrap_or_default();
        self.held -= frames.iter().map(Vec::len).sum::<usize>();
        frames
    }

    /// Something became possible on a channel.
    pub(crate) fn ready(
        &mut self,
        place: u32,
        (readable, writable): (bool, bool),
        outbox: &mut Outbox,
    ) {
        let Some(channel) = self.channels.get_mut(place) else {
            return;
        };
        if readable && !std::mem::replace(&mut channel.waits, true) {
            self.waiting.push_back(place);
        }
        if writable {
            let before = channel.queued();
            let flushed = channel.flush();
            self.queued = self.queued + channel.queued() - before;
            if flushed.is_err() {
                self.close(place, outbox);
            }
        }
    }

    /// Gives the guest what has come.
    pub(crate) fn flush(&mut self, link: &mut dyn Link, outbox: &mut Outbox) -> Flushed {
        for _ in 0..self.waiting.len() {
            let Some(place) = self.waiting.pop_front() else {
                break;
            };
            match self.receive(place, link, outbox.mac()) {
                Ok(Flushed::All) => {}
                Ok(Flushed::More) => self.waiting.push_back(place),
                Ok(Flushed::Blocked) => {
                    self.waiting.push_front(place);
                    return Flushed::Blocked;
                }
                Err(Gone) => self.close(place, outbox),
            }
        }
        if self.waiting.is_empty() {
            Flushed::All
        } else {
            Flushed::More
        }
    }

    fn receive(&mut self, place: u32, link: &mut dyn Link, mac: [u8; 6]) -> Result<Flushed, Gone> {
        for _ in 0..TURN {
            let Some(channel) = self.channels.get_mut(place) else {
                return Ok(Flushed::All);
            };
            let stashed = channel.stashed.take();
            let packet = match &stashed {
                Some(packet) => packet.as_slice(),
                None => match channel.receive(&mut self.packet)? {
                    Some(length) => &self.packet[..length],
                    None => {
                        channel.waits = false;
                        return Ok(Flushed::All);
                    }
                },
            };
            let passing = Passing::read(packet)
                .filter(|passing| passing.from == channel.address && passing.to == self.own);
            let Some(passing) = passing else {
                continue;
            };
            let checksum = passing.frame(mac, &mut self.frame);
            let frame = Frame {
                header: &self.frame,
                payload: &[],
                checksum,
                segmentation: None,
            };
            if !link.send(&frame) {
                channel.stashed = Some(packet.to_vec());
                return Ok(Flushed::Blocked);
            }
            if let Some(((from, to), segment)) = passing.segment() {
                self.marks.received(place, (to, from), &segment);
            }
        }
        Ok(Flushed::More)
    }

    /// The member at the other end is no more: its connections are reset.
    fn close(&mut self, place: u32, outbox: &mut Outbox) {
        let Some(channel) = self.channels.remove(place) else {
            return;
        };
        self.queued -= channel.queued();
        for lost in self.marks.lose(place, outbox.mac()) {
            outbox.push_owed(lost.frame());
        }
        if self.ways.get(&channel.address) == Some(&place) {
            let other = self
                .channels
                .iter()
                .find(|(_, other)| other.address == channel.address);
            match other.map(|(place, _)| place) {
                Some(place) => self.ways.insert(channel.address, place),
                None => self.ways.remove(&channel.address),
            };
        }
    }

    /// The connections with members, for a copy of the guest.
    pub(crate) fn connections(&self, mac: [u8; 6]) -> impl Iterator<Item = Lost> {
        self.marks.all(mac)
    }
}

/// Says to the guest that nobody is there.
fn bounce(frame: &[u8], outbox: &mut Outbox) {
    match wire::parse(frame) {
        Some(Packet::Tcp { from, to, segment }) if segment.syn => {
            Tcp::refuse((from, to), &segment, &Errno::HOSTUNREACH.into(), outbox);
        }
        // A member that was there: its connections are no more.
        Some(Packet::Tcp { from, to, segment }) => Tcp::deny((from, to), &segment, outbox),
        Some(Packet::Udp { from, to, payload }) => {
            let key = (Protocol::Udp, from, to);
            udp::refuse(key, payload, NOBODY, outbox);
        }
        Some(Packet::Echo {
            from,
            to,
            ident,
            sequence,
            ..
        }) => {
            let ends = (SocketAddr::new(from, ident), SocketAddr::new(to, 0));
            let [high, low] = sequence.to_be_bytes();
            let start = [0, 0, 0, 0, 0, 0, high, low];
            let key = (Protocol::Ping, ends.0, ends.1);
            udp::refuse(key, &start, NOBODY, outbox);
        }
        _ => {}
    }
}
