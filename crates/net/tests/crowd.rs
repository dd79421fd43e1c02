//! Many connections at once.

mod common;

use common::{ACK, SYN, Wire, heard, network, segment, turn, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

/// As many as there are descriptors for: both ends of every connection are in this process.
const MOST_CONNECTIONS: u64 = 10_000;
const FEWEST_CONNECTIONS: u64 = 1_000;
const FIRST: u16 = 20_000;
/// Handed over together: what a listener lets wait.
const BATCH: u16 = 100;
/// What one that is idle may take.
const MOST_BYTES: usize = 8 << 10;

/// How many connections there may be, a multiple of the batch.
fn connections() -> u16 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let room = limit
        .maximum
        .map_or(MOST_CONNECTIONS, |most| most.saturating_sub(200) / 2);
    assert!(
        room >= FEWEST_CONNECTIONS,
        "too few descriptors for a crowd"
    );
    let batches = room.min(MOST_CONNECTIONS) / u64::from(BATCH);
    batches as u16 * BATCH
}

/// Bytes of memory this process has.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn thousands_of_idle_connections_take_little_and_every_one_works() {
    let count = connections();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stack = network(&[format!("allow:127.0.0.1:{port}/tcp")], Vec::new());
    let mut wire = Wire::default();
    let mut clients = Vec::new();
    let before = resident();
    for first in (FIRST..FIRST + count).step_by(BATCH.into()) {
        let batch = first..first + BATCH;
        let syns = batch
            .clone()
            .map(|from| segment((from, port), (u32::from(from), 0), SYN, &[]));
        wire.sent.extend(syns);
        for _ in batch {
            let greeting =
                |frame: &[u8]| heard(frame).is_some_and(|(.., flags)| flags == SYN | ACK);
            let (from, seq, _) = heard(&until(&mut stack, &mut wire, greeting)).unwrap();
            let numbers = (u32::from(from) + 1, seq.wrapping_add(1));
            wire.sent
                .push_back(segment((from, port), numbers, ACK, &[]));
            clients.push(listener.accept().unwrap().0);
        }
        turn(&mut stack, &mut wire);
    }
    let each = resident().saturating_sub(before) / usize::from(count);
    assert!(each < MOST_BYTES, "{each} bytes");
    wire.heard.clear();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    let mut told = HashSet::new();
    while told.len() < count.into() {
        let word = until(&mut stack, &mut wire, |frame| frame.last() == Some(&b'x'));
        told.insert(heard(&word).unwrap().0);
    }
}
