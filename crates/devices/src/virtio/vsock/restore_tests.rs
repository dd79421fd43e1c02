//! The socket device between two lives.

use super::guest::{GUEST_CID, Machine, Packet, Peer};
use super::packet::{HOST_CID, Op};
use super::state::{Ports, StrayReset, VsockState};
use super::{ConnectionId, Vsock};
use crate::virtio::VirtioDevice;
use crate::virtio::mmio::RestoreError;
use crate::virtio::probe::Probe;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

const ROOM: u32 = 1 << 20;

fn ports(packet: &Packet) -> Ports {
    Ports {
        host: packet.header.src_port,
        guest: packet.header.dst_port,
    }
}

fn with_op(packets: &[Packet], op: Op) -> Vec<Ports> {
    let found = packets.iter().filter(|packet| packet.op() == op);
    found.map(ports).collect()
}

fn restored(state: &VsockState) -> Result<Vsock<UnixStream>, RestoreError> {
    let mut device = Vsock::new(GUEST_CID, Box::new(Probe::default()));
    device.restore(state, None).map(|()| device)
}

#[test]
fn an_open_connection_of_the_old_life_is_reset_once() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    stream.write_all(b"not yet read").unwrap();
    machine.live_again();
    let packets = machine.exchange();
    assert_eq!(packets.len(), 1);
    let header = packets[0].header;
    assert_eq!(
        (packets[0].op(), header.src_cid, ports(&packets[0])),
        (
            Op::Reset,
            HOST_CID,
            Ports {
                host: peer.host_port,
                guest: 1024
            }
        )
    );
    machine.live_again();
    assert_eq!(machine.exchange(), [], "it was told in the life before");
}

#[test]
fn the_life_that_was_saved_goes_on_undisturbed() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    let before = machine.device.save();
    assert_eq!(machine.device.save(), before);
    stream.write_all(b"question").unwrap();
    assert_eq!(machine.exchange()[0].data, b"question");
    machine.say(peer.header(Op::Data, 6), b"answer");
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
}

#[test]
fn two_thousand_old_connections_are_reset_in_front_of_a_new_one() {
    const FIRST: u32 = 1 << 30;
    const COUNT: u32 = 2000;
    let mut machine = Machine::new();
    let old: Vec<Ports> = (FIRST..FIRST + COUNT)
        .map(|host| Ports { host, guest: 1024 })
        .collect();
    machine.live_again_from(&VsockState {
        next_port: FIRST + COUNT,
        connections: old.clone(),
        resets: Vec::new(),
    });
    let (id, _stream) = machine.connect(1024);
    let packets = machine.exchange();
    let (request, resets) = packets.split_last().unwrap();
    assert_eq!(
        (request.op(), request.header.src_port),
        (Op::Request, id.get())
    );
    assert_eq!(with_op(resets, Op::Reset), old);
    assert_eq!(resets.len(), old.len());
}

#[test]
fn farewells_that_found_no_room_survive_another_life() {
    let mut machine = Machine::new();
    machine.exchange();
    let (peer, _stream) = machine.connect_accepted(1024, ROOM);
    let (other, _stream) = machine.connect_accepted(1025, ROOM);
    // The guest has no buffers left for a while.
    machine.take_all_buffers();
    for _ in 0..3 {
        machine.live_again();
        assert_eq!(machine.take_rx(), []);
    }
    let packets = machine.exchange();
    let told = with_op(&packets, Op::Reset);
    assert_eq!(
        told.iter().map(|p| p.host).collect::<Vec<_>>(),
        [peer.host_port, other.host_port]
    );
    assert_eq!(packets.len(), 2);
}

#[test]
fn a_request_the_guest_never_saw_dies_with_its_life() {
    let mut machine = Machine::new();
    let (_, stream) = machine.connect(1024);
    assert_eq!(machine.device.save().connections, []);
    drop(stream);
    machine.live_again();
    assert_eq!(machine.exchange(), []);
}

#[test]
fn a_request_the_guest_did_not_answer_yet_is_reset() {
    let mut machine = Machine::new();
    let (id, _stream) = machine.connect(1024);
    assert_eq!(with_op(&machine.exchange(), Op::Request).len(), 1);
    machine.live_again();
    let packets = machine.exchange();
    assert_eq!(with_op(&packets, Op::Reset)[0].host, id.get());
    assert_eq!(packets.len(), 1);
}

#[test]
fn a_refusal_the_guest_was_not_sent_is_sent_in_the_new_life() {
    let mut machine = Machine::new();
    let knock = Peer {
        guest_port: 5000,
        host_port: 77,
        buf_alloc: ROOM,
        fwd_cnt: 0,
    };
    machine.say(knock.header(Op::Request, 0), &[]);
    machine.live_again();
    let expected = Ports {
        host: 77,
        guest: 5000,
    };
    assert_eq!(with_op(&machine.exchange(), Op::Reset), [expected]);
    assert_eq!(machine.device.take_refused(), Vec::<u32>::new());
}

#[test]
fn ports_of_the_old_life_are_not_given_out_again() {
    let mut machine = Machine::new();
    let (old, _stream) = machine.connect_accepted(1024, ROOM);
    machine.live_again();
    machine.exchange();
    let (new, mut stream) = machine.connect_accepted(1024, ROOM);
    assert_ne!(new.host_port, old.host_port);
    // What the guest's process says on the old connection must not come out of the new one.
    machine.say(old.header(Op::Data, 5), b"stale");
    machine.say(new.header(Op::Data, 5), b"fresh");
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"fresh");
    let told = with_op(&machine.exchange(), Op::Reset);
    assert_eq!(
        told.iter().map(|p| p.host).collect::<Vec<_>>(),
        [old.host_port]
    );
}

#[test]
fn what_the_event_loop_still_knows_of_old_connections_is_ignored() {
    let mut machine = Machine::new();
    let (id, _stream) = machine.connect(1024);
    machine.exchange();
    machine.live_again();
    machine.exchange();
    machine.device.stream_ready(
        ConnectionId::from_raw(id.get()),
        super::Readiness::default(),
    );
    machine.device.pump();
    assert_eq!(machine.exchange(), []);
}

#[test]
fn a_device_that_is_reset_says_no_farewells() {
    let mut machine = Machine::new();
    let (_, _stream) = machine.connect_accepted(1024, ROOM);
    let mut device = restored(&machine.device.save()).unwrap();
    assert_eq!(device.save().connections.len(), 1);
    device.reset();
    assert_eq!(device.save().connections, []);
}

#[test]
fn ports_that_are_never_given_out_are_refused() {
    let good = VsockState {
        next_port: 1 << 30,
        ..VsockState::default()
    };
    assert!(restored(&good).is_ok());
    for port in [0, (1 << 30) - 1, u32::MAX] {
        let next = VsockState {
            next_port: port,
            ..good.clone()
        };
        let host = VsockState {
            connections: vec![Ports {
                host: port,
                guest: 1,
            }],
            ..good.clone()
        };
        for state in [next, host] {
            let error = restored(&state).err().expect("it was accepted");
            assert!(matches!(error, RestoreError::HostPort { found } if found == port));
        }
    }
}

#[test]
fn no_more_stray_resets_are_taken_over_than_a_guest_may_provoke() {
    let stray = StrayReset {
        cid: HOST_CID,
        ports: Ports { host: 1, guest: 2 },
    };
    let state = VsockState {
        next_port: 1 << 30,
        connections: Vec::new(),
        resets: vec![stray; 1000],
    };
    assert_eq!(restored(&state).unwrap().save().resets.len(), 256);
}

/// What becomes of one connection of the old life.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Unseen,
    Unanswered,
    Open,
    HalfClosed,
    Closed,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Unseen),
        Just(Fate::Unanswered),
        Just(Fate::Open),
        Just(Fate::HalfClosed),
        Just(Fate::Closed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whoever the guest takes for alive is reset once, nobody else is, and all of it in front of new requests.
    #[test]
    fn each_connection_the_guest_knows_is_reset_once(
        fates in proptest::collection::vec(fate(), 0..40),
        new in 0usize..20,
    ) {
        let mut machine = Machine::new();
        let mut streams = Vec::new();
        let mut alive = BTreeSet::new();
        // Those the guest has not seen come last: it has no buffers from then on.
        let (unseen, seen): (Vec<Fate>, Vec<Fate>) =
            fates.iter().partition(|fate| matches!(fate, Fate::Unseen));
        for fate in seen {
            if matches!(fate, Fate::Unanswered) {
                let (id, stream) = machine.connect(1024);
                machine.exchange();
                alive.insert(id.get());
                streams.push(stream);
                continue;
            }
            let (peer, stream) = machine.connect_accepted(1024, ROOM);
            match fate {
                Fate::HalfClosed => machine.say(peer.shutdown(super::packet::SHUTDOWN_SEND), &[]),
                Fate::Closed => machine.say(peer.header(Op::Reset, 0), &[]),
                _ => {}
            }
            if !matches!(fate, Fate::Closed) {
                alive.insert(peer.host_port);
            }
            streams.push(stream);
        }
        machine.exchange();
        machine.take_all_buffers();
        for _ in unseen {
            streams.push(machine.connect(1024).1);
        }
        machine.live_again();
        for _ in 0..new {
            streams.push(machine.connect(1024).1);
        }
        let packets = machine.exchange();
        let resets = with_op(&packets, Op::Reset);
        let told: BTreeSet<u32> = resets.iter().map(|ports| ports.host).collect();
        prop_assert_eq!(resets.len(), alive.len());
        prop_assert_eq!(told, alive);
        let requests = with_op(&packets[resets.len()..], Op::Request);
        prop_assert_eq!(requests.len(), new);
        prop_assert_eq!(packets.len(), resets.len() + new);
    }
}
