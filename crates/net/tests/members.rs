//! Guests of one network, each with a stack of its own.

mod common;

use common::{ACK, MAC, SYN, Wire, heard, turn, until};
use net::policy::Policy;
use net::{Addresses, Config, GATEWAY_V4, Quest, Stack, Subnet, Upstream};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::net::Ipv4Addr;

const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 2);
const RST: u8 = 4;

/// A guest with its link.
struct Guest {
    stack: Stack,
    wire: Wire,
}

impl Guest {
    fn new(v4: Ipv4Addr) -> Self {
        let config = Config {
            addresses: Addresses {
                mac: MAC,
                v4,
                v6: None,
            },
            policy: Policy::default(),
            upstream: Upstream::default(),
            limits: net::Limits::default(),
            subnet: Some(Subnet {
                address: Ipv4Addr::new(198, 18, 3, 0),
                prefix: 24,
            }),
        };
        Self {
            stack: Stack::new(config, Vec::new()).unwrap(),
            wire: Wire::default(),
        }
    }

    fn says(&mut self, frame: Vec<u8>) {
        self.wire.sent.push_back(frame);
        turn(&mut self.stack, &mut self.wire);
    }

    fn hears(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        until(&mut self.stack, &mut self.wire, wanted)
    }
}

/// Gives both a way to each other.
fn introduce(near: &mut Guest, far: &mut Guest) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    near.stack.meet(FAR, pair.0);
    far.stack.meet(NEAR, pair.1);
}

fn packet(protocol: u8, (from, to): (Ipv4Addr, Ipv4Addr), content: &[u8]) -> Vec<u8> {
    let mut frame = [&net::GATEWAY_MAC[..], &MAC, &[8, 0, 0x45, 0]].concat();
    frame.extend_from_slice(&(20 + content.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend_from_slice(&from.octets());
    frame.extend_from_slice(&to.octets());
    frame.extend_from_slice(content);
    frame
}

fn tcp(
    ends: (Ipv4Addr, Ipv4Addr),
    (from, to): (u16, u16),
    (seq, ack): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut content = [from.to_be_bytes(), to.to_be_bytes()].concat();
    content.extend_from_slice(&seq.to_be_bytes());
    content.extend_from_slice(&ack.to_be_bytes());
    content.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    content.extend_from_slice(payload);
    packet(6, ends, &content)
}

fn udp(ends: (Ipv4Addr, Ipv4Addr), (from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut content = [from.to_be_bytes(), to.to_be_bytes()].concat();
    content.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    content.extend_from_slice(&[0, 0]);
    content.extend_from_slice(payload);
    packet(17, ends, &content)
}

fn question(name: &str, kind: u8) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(&[0, 0, kind, 0, 1]);
    message
}

fn asks_who_has(address: Ipv4Addr) -> Vec<Quest> {
    vec![Quest::Member(address)]
}

#[test]
fn members_speak_with_each_other_and_the_end_of_one_resets_what_the_other_had_with_it() {
    let (mut near, mut far) = (Guest::new(NEAR), Guest::new(FAR));
    near.says(tcp((NEAR, FAR), (4000, 80), (100, 0), SYN, &[]));
    assert_eq!(near.stack.take_quests(), asks_who_has(FAR));
    // Asked once, however often the guest says it.
    near.says(tcp((NEAR, FAR), (4001, 80), (500, 0), SYN, &[]));
    assert!(near.stack.take_quests().is_empty());
    introduce(&mut near, &mut far);
    let syn = far.hears(|frame| heard(frame) == Some((80, 100, SYN)));
    assert_eq!(
        (&syn[26..30], &syn[6..12]),
        (&NEAR.octets()[..], &net::GATEWAY_MAC[..])
    );
    far.hears(|frame| heard(frame) == Some((80, 500, SYN)));
    far.says(tcp((FAR, NEAR), (80, 4000), (900, 101), SYN | ACK, &[]));
    assert!(far.stack.take_quests().is_empty());
    near.hears(|frame| heard(frame) == Some((4000, 900, SYN | ACK)));
    near.says(tcp((NEAR, FAR), (4000, 80), (101, 901), ACK, b"hello"));
    let hello = far.hears(|frame| heard(frame) == Some((80, 101, ACK)));
    assert_eq!(&hello[54..], b"hello");
    drop(far);
    near.hears(|frame| heard(frame) == Some((4000, 901, RST | ACK)));
    // The one that was not answered yet: by the number it waits for.
    let refused = near.hears(|frame| heard(frame) == Some((4001, 0, RST | ACK)));
    assert_eq!(refused[42..46], 501_u32.to_be_bytes());
    // Somebody else may have the address now.
    near.says(udp((NEAR, FAR), (9, 9), b"still there?"));
    assert_eq!(near.stack.take_quests(), asks_who_has(FAR));
    near.stack.miss(FAR);
    near.hears(|frame| frame[23] == 1 && frame[34..36] == [3, 13]);
}

#[test]
fn an_address_that_is_nobodys_is_answered_at_once() {
    let mut near = Guest::new(NEAR);
    near.says(tcp((NEAR, FAR), (4000, 80), (100, 0), SYN, &[]));
    near.says(packet(
        1,
        (NEAR, FAR),
        &[8, 0, 0, 0, 0, 7, 0, 9, b'p', b'q'],
    ));
    near.says(tcp((NEAR, FAR), (4002, 80), (7, 50), ACK, &[]));
    assert_eq!(near.stack.take_quests(), asks_who_has(FAR));
    near.stack.miss(FAR);
    // That a segment does not get there, then that a ping does not; a connection from before is reset.
    near.hears(|frame| frame[23] == 1 && frame[34..36] == [3, 1] && frame[51] == 6);
    near.hears(|frame| frame[23] == 1 && frame[34..36] == [3, 13] && frame[51] == 1);
    near.hears(|frame| heard(frame) == Some((4002, 50, RST)));
}

#[test]
fn nobody_speaks_in_the_name_of_another_one() {
    let third = Ipv4Addr::new(198, 18, 3, 3);
    let (mut near, mut far) = (Guest::new(NEAR), Guest::new(FAR));
    introduce(&mut near, &mut far);
    // By the guest itself, then by a stack that does not care.
    near.says(udp((third, FAR), (1, 2), b"forged"));
    near.says(udp((NEAR, FAR), (1, 2), b"honest"));
    far.hears(|frame| frame.ends_with(b"honest"));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    far.stack.meet(third, theirs);
    for ends in [(NEAR, FAR), (GATEWAY_V4, FAR), (third, NEAR), (third, FAR)] {
        let frame = udp(ends, (1, 2), b"sent");
        rustix::net::send(&ours, &frame[14..], rustix::net::SendFlags::empty()).unwrap();
    }
    rustix::net::send(&ours, b"noise", rustix::net::SendFlags::empty()).unwrap();
    let last = far.hears(|frame| frame.ends_with(b"sent"));
    assert_eq!(last[26..30], third.octets());
    turn(&mut far.stack, &mut far.wire);
    assert!(far.wire.heard.is_empty(), "{:?}", far.wire.heard);
}

#[test]
fn a_member_is_found_by_name_and_the_world_is_asked_for_the_others() {
    let mut near = Guest::new(NEAR);
    let ask = |message: &[u8]| udp((NEAR, GATEWAY_V4), (5000, 53), message);
    near.says(ask(&question("Db", 1)));
    near.says(ask(&question("db", 1)));
    assert_eq!(near.stack.take_quests(), [Quest::Name("db".into())]);
    near.stack.named("db", Some(FAR));
    for _ in 0..2 {
        near.hears(|frame| frame.ends_with(&FAR.octets()));
    }
    // There is nobody in the world to ask here, which is a failure of the server's.
    near.says(ask(&question("nobody", 1)));
    assert_eq!(near.stack.take_quests(), [Quest::Name("nobody".into())]);
    near.stack.named("nobody", None);
    near.hears(|frame| frame.get(42..46) == Some(&[0x12, 0x34, 0x81, 0x82]));
    // Of another kind: not asked, and not there.
    near.says(ask(&question("db", 28)));
    near.hears(|frame| frame.get(42..50) == Some(&[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0]));
    assert!(near.stack.take_quests().is_empty());
}

#[test]
fn a_member_that_does_not_listen_costs_a_bounded_amount_and_is_heard_of_again() {
    let (mut near, mut far) = (Guest::new(NEAR), Guest::new(FAR));
    introduce(&mut near, &mut far);
    far.wire.full = true;
    let big = vec![b'x'; 60_000];
    for number in 0..400_u16 {
        near.says(udp((NEAR, FAR), (number, 2), &big));
    }
    turn(&mut far.stack, &mut far.wire);
    assert!(far.stack.is_blocked());
    far.wire.full = false;
    near.says(udp((NEAR, FAR), (1000, 2), b"small enough to be kept"));
    // What was kept comes in its order, what was too much is lost.
    let number = |frame: &Vec<u8>| u16::from_be_bytes([frame[34], frame[35]]);
    let mut came = Vec::new();
    let mut turns = 0;
    while turns < 10 {
        turn(&mut far.stack, &mut far.wire);
        turn(&mut near.stack, &mut near.wire);
        // Both ends are in this process: when a round moves nothing, there is nothing left.
        turns = if far.wire.heard.is_empty() {
            turns + 1
        } else {
            0
        };
        came.extend(far.wire.heard.drain(..).map(|frame| number(&frame)));
    }
    let kept = came.iter().take_while(|number| **number < 400).count();
    assert!((100..400).contains(&kept), "{kept}");
    assert!(came.iter().take(kept).copied().eq(0..kept as u16));
    near.says(udp((NEAR, FAR), (1001, 2), b"later"));
    far.hears(|frame| frame.ends_with(b"later"));
}
