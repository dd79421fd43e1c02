//! A guest that sends what bytes it likes, and the link between it and the stack.
#![allow(dead_code, reason = "no test needs all of it")]

use net::policy::{Mode, Policy};
use net::{Addresses, Config, Frame, Limits, Link, Stack, Upstream};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

pub const MAC: [u8; 6] = [2, 0x53, 0x6d, 0x80, 0, 9];
pub const GUEST: Ipv4Addr = Ipv4Addr::new(198, 19, 7, 7);

/// The link: what the guest sends, and what it has been sent.
#[derive(Default)]
pub struct Wire {
    pub sent: VecDeque<Vec<u8>>,
    pub heard: Vec<Vec<u8>>,
    /// Whether the guest takes nothing.
    pub full: bool,
}

impl Link for Wire {
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        match self.sent.pop_front() {
            Some(sent) => {
                *frame = sent;
                true
            }
            None => false,
        }
    }

    fn send(&mut self, frame: &Frame<'_>) -> bool {
        if !self.full {
            self.heard.push([frame.header, frame.payload].concat());
        }
        !self.full
    }
}

/// A network on which these rules decide, and nothing else is reached.
pub fn network(rules: &[String], servers: Vec<SocketAddr>) -> Stack {
    let rules = rules.iter().map(String::as_str).chain(["deny:*"]);
    let rules = rules.map(|rule| rule.parse().unwrap()).collect();
    let config = Config {
        addresses: Addresses {
            mac: MAC,
            v4: GUEST,
            v6: Some("fd53:6d76::707".parse().unwrap()),
        },
        policy: Policy {
            mode: Mode::Public,
            rules,
        },
        limits: Limits::default(),
        upstream: Upstream { servers, v6: true },
        subnet: None,
    };
    Stack::new(config, Vec::new()).unwrap()
}

/// One turn, with whatever sockets are ready now.
pub fn turn(stack: &mut Stack, wire: &mut Wire) {
    let woken = stack.waiter().wait(std::time::Duration::ZERO).unwrap();
    stack.turn(wire, woken);
}

/// Turns until the guest has heard a frame that `wanted` is looking for, which is taken out.
pub fn until(stack: &mut Stack, wire: &mut Wire, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    turn(stack, wire);
    loop {
        if let Some(at) = wire.heard.iter().position(|frame| wanted(frame)) {
            return wire.heard.swap_remove(at);
        }
        let woken = stack.waiter().wait(stack.patience()).unwrap();
        stack.turn(wire, woken);
    }
}

/// The flags of a segment.
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// A segment of the guest's to a port of the gateway.
pub fn segment(
    (from, to): (u16, u16),
    (seq, ack): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [&net::GATEWAY_MAC[..], &MAC, &[8, 0, 0x45, 0]].concat();
    frame.extend_from_slice(&(40 + payload.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 1, 0, 0, 64, 6, 0, 0]);
    frame.extend_from_slice(&GUEST.octets());
    frame.extend_from_slice(&net::GATEWAY_V4.octets());
    frame.extend_from_slice(&from.to_be_bytes());
    frame.extend_from_slice(&to.to_be_bytes());
    frame.extend_from_slice(&seq.to_be_bytes());
    frame.extend_from_slice(&ack.to_be_bytes());
    frame.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// The guest's port, the sequence number and the flags of a TCP segment that the guest has heard.
pub fn heard(frame: &[u8]) -> Option<(u16, u32, u8)> {
    let (kind, protocol) = (frame.get(12..14)?, *frame.get(23)?);
    let segment = frame
        .get(34..54)
        .filter(|_| kind == [8, 0] && protocol == 6)?;
    let port = u16::from_be_bytes([segment[2], segment[3]]);
    let seq = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
    Some((port, seq, segment[13]))
}
