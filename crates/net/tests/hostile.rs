//! Frames as a guest without manners sends them: nothing crashes, nothing stays, and nobody is reached who may not be.
//!
//! Everything here is on loopback, and a rule refuses whatever the others do not name: no frame can leave the machine,
//! whatever addresses a mutation makes up.

mod common;

use common::{ACK, SYN, Wire, heard, network, segment, turn, until};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// The flag of a reset.
const RST: u8 = 4;

const FRAMES: &str = include_str!("hostile/frames.txt");

/// Two services of the host on loopback, each on TCP and UDP.
struct Service {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Service {
    fn new() -> Self {
        loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            // Somebody else may have the same number.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                tcp.set_nonblocking(true).unwrap();
                udp.set_nonblocking(true).unwrap();
                return Self { tcp, udp };
            }
        }
    }

    fn port(&self) -> u16 {
        self.tcp.local_addr().unwrap().port()
    }

    /// Whether somebody has come since it was asked last.
    fn was_reached(&self) -> bool {
        let nobody = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let client = self.tcp.accept().map_err(nobody).is_ok();
        let datagram = self.udp.recv(&mut [0; 100]).map_err(nobody).is_ok();
        client || datagram
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex
        .bytes()
        .map(|byte| (byte as char).to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// The frames by name.
fn corpus(allowed: u16, closed: u16) -> Vec<(&'static str, Vec<u8>)> {
    let lines = FRAMES
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let port = |port: u16| format!("{port:04x}");
    let frame = |line: &'static str| {
        let (name, hex) = line.split_once(' ').unwrap();
        let hex = hex
            .replace("allowed", &port(allowed))
            .replace("closed", &port(closed));
        (name, bytes(&hex))
    };
    lines.map(frame).collect()
}

/// The frame itself, cut at every byte, and with every byte another one.
fn mutations(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..frame.len()).map(|end| frame[..end].to_vec());
    let changed = (0..frame.len()).flat_map(move |at| {
        let old = frame[at];
        [0, 0xff, old ^ 1, old ^ 0x80, old.wrapping_add(1)].map(|new| {
            let mut frame = frame.to_vec();
            frame[at] = new;
            frame
        })
    });
    std::iter::once(frame.to_vec()).chain(cut).chain(changed)
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn hostile_frames_reach_nobody_and_the_network_works_after_them() {
    let (allowed, closed, names) = (Service::new(), Service::new(), Service::new());
    let rules =
        ["tcp", "udp"].map(|protocol| format!("allow:127.0.0.1:{}/{protocol}", allowed.port()));
    let mut stack = network(&rules, vec![names.udp.local_addr().unwrap()]);
    let mut wire = Wire::default();
    for (name, frame) in corpus(allowed.port(), closed.port()) {
        for mutation in mutations(&frame) {
            wire.sent.push_back(mutation);
            turn(&mut stack, &mut wire);
        }
        assert!(wire.sent.is_empty(), "{name}");
        let gateway = |frame: &Vec<u8>| frame.get(6..12) == Some(&net::GATEWAY_MAC);
        assert!(wire.heard.iter().all(gateway), "{name}");
        wire.heard.clear();
        assert!(!closed.was_reached(), "{name}");
        while allowed.was_reached() {}
    }
    // Not one of them has stopped it from doing its work.
    let port = 12_345;
    wire.sent
        .push_back(segment((port, allowed.port()), (7, 0), SYN, &[]));
    let greeting =
        |frame: &[u8]| heard(frame).is_some_and(|(to, _, flags)| to == port && flags == SYN | ACK);
    until(&mut stack, &mut wire, greeting);
    assert!(allowed.was_reached());
}

/// The ports of a flood.
const FIRST: u16 = 50_000;
const FLOOD: u64 = (u16::MAX - FIRST) as u64 + 1;

#[test]
fn a_flood_of_connections_is_answered_and_leaves_nothing() {
    let (allowed, closed) = (Service::new(), Service::new());
    // Nobody listens there any more: each connection is begun, and refused.
    let gone = Service::new().port();
    let rules = [allowed.port(), gone].map(|port| format!("allow:127.0.0.1:{port}/tcp"));
    let mut stack = network(&rules, Vec::new());
    let mut wire = Wire::default();
    let before = descriptors();
    for (to, refused) in [(closed.port(), true), (gone, false)] {
        let refusals = stack.take_refusals().1;
        for from in FIRST..=u16::MAX {
            wire.sent.push_back(segment((from, to), (1, 0), SYN, &[]));
            if from % 200 == 0 {
                turn(&mut stack, &mut wire);
            }
        }
        let last = |frame: &[u8]| {
            heard(frame).is_some_and(|(port, _, flags)| port == u16::MAX && flags & RST != 0)
        };
        until(&mut stack, &mut wire, last);
        let count = stack.take_refusals().1 - refusals;
        assert_eq!(count, if refused { FLOOD } else { 0 });
        assert_eq!(wire.heard.len() as u64, FLOOD - 1);
        wire.heard.clear();
        assert_eq!(descriptors(), before);
    }
    assert!(!closed.was_reached());
}

#[test]
fn a_guest_that_takes_nothing_is_not_kept_answers_for_without_end() {
    let closed = Service::new();
    let mut stack = network(&[], Vec::new());
    let mut wire = Wire {
        full: true,
        ..Wire::default()
    };
    for from in FIRST..=u16::MAX {
        wire.sent
            .push_back(segment((from, closed.port()), (1, 0), SYN, &[]));
        turn(&mut stack, &mut wire);
    }
    assert!(stack.is_blocked());
    wire.full = false;
    turn(&mut stack, &mut wire);
    assert!(!stack.is_blocked());
    assert!(
        (1..=1024).contains(&wire.heard.len()),
        "{}",
        wire.heard.len()
    );
}
