//! A guest that says anything.

use super::guest::{GUEST_CID, Machine, Peer, RX, TX};
use super::packet::{HOST_CID, Header, Op, TYPE_STREAM};
use crate::virtio::VirtioDevice;
use crate::virtio::testing::Descriptor;
use proptest::prelude::*;
use std::io::{ErrorKind, Read, Write};
use vm_memory::{Bytes, GuestAddress};

const ROOM: u32 = 1 << 20;

fn any_header(host_ports: Vec<u32>) -> impl Strategy<Value = Header> {
    let cid = prop_oneof![8 => Just(GUEST_CID), 8 => Just(HOST_CID), 1 => any::<u64>()];
    let port = prop_oneof![4 => 1u32..4, 1 => any::<u32>()];
    let host_port = prop_oneof![8 => proptest::sample::select(host_ports), 1 => any::<u32>()];
    let len = prop_oneof![4 => 0u32..2000, 1 => 0u32..100_000, 1 => any::<u32>()];
    let op = prop_oneof![20 => 1u16..8, 1 => any::<u16>()];
    let kind = prop_oneof![20 => Just(TYPE_STREAM), 1 => any::<u16>()];
    let credit = (
        prop_oneof![Just(ROOM), any::<u32>()],
        prop_oneof![4 => 0u32..5000, 1 => any::<u32>()],
    );
    (
        (cid.clone(), cid, port, host_port),
        (len, kind, op, any::<u32>()),
        credit,
    )
        .prop_map(
            |((src, dst, src_port, dst_port), (len, kind, op, flags), (buf_alloc, fwd_cnt))| {
                Header {
                    // Mostly the right way round.
                    src_cid: if src == HOST_CID { GUEST_CID } else { src },
                    dst_cid: if dst == GUEST_CID { HOST_CID } else { dst },
                    src_port,
                    dst_port,
                    len,
                    kind,
                    op,
                    flags,
                    buf_alloc,
                    fwd_cnt,
                }
            },
        )
}

/// What a run of random packets is made of; host ports are counted from the first one.
fn any_run() -> impl Strategy<Value = Vec<(Header, usize, u8)>> {
    let ports = (0..3).map(|i| (1 << 30) + i).collect();
    proptest::collection::vec((any_header(ports), 0usize..3000, any::<u8>()), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever a guest says: no panic, no packet lost or answered twice, and after it says goodbye to every
    /// connection none is left.
    #[test]
    fn random_packets_do_no_harm(run in any_run()) {
        let mut machine = Machine::new();
        let mut streams: Vec<_> = (1..4).map(|port| machine.connect(port)).collect();
        for (mut header, len, whim) in run {
            if whim & 3 != 0 {
                // Mostly a header that tells the truth.
                header.len = len as u32;
            }
            machine.transmit(header, &vec![whim; len]);
            machine.kick();
            if whim & 4 != 0 {
                let (_, stream) = &mut streams[usize::from(whim) % 3];
                let _ = stream.write(&[whim; 777]);
                let _ = stream.read(&mut [0; 1000]);
            }
            machine.poll_streams();
            machine.post_rx(usize::from(whim >> 5));
            machine.take_rx();
        }
        machine.exchange();
        for (port, (id, _)) in (1..4).zip(&streams) {
            let peer = Peer { guest_port: port, host_port: id.get(), buf_alloc: 0, fwd_cnt: 0 };
            machine.say(peer.header(Op::Reset, 0), &[]);
        }
        // What was on its way into a stream gets there, or the stream is gone.
        for (_, stream) in &mut streams {
            let drained = stream.read_to_end(&mut Vec::new());
            prop_assert!(drained.is_ok() || drained.unwrap_err().kind() == ErrorKind::WouldBlock);
        }
        machine.exchange();
        prop_assert_eq!(machine.device.connections(), 0);
        prop_assert!(machine.exchange().is_empty());
    }

    /// Whatever stands in the descriptor tables of both queues: no panic, no hang, no chain answered twice.
    #[test]
    fn random_chains_do_no_harm(
        tables in proptest::collection::vec((any_descriptor(), any_descriptor()), 1..128),
        heads in proptest::collection::vec((0u16..260, 0u16..140), 0..100),
        packet in any_header(vec![1 << 30]),
    ) {
        let mut machine = Machine::new();
        let (_, mut stream) = machine.connect(1);
        stream.write_all(&[1; 10_000]).unwrap();
        machine.memory.write_slice(&packet.to_bytes(), GuestAddress(PACKET)).unwrap();
        for (index, (rx, tx)) in tables.iter().enumerate() {
            machine.rx.write_descriptor(index as u16, *rx);
            machine.tx.write_descriptor(index as u16, *tx);
        }
        for (rx, tx) in &heads {
            machine.rx.offer(*rx);
            machine.tx.offer(*tx);
        }
        machine.device.notify(TX);
        machine.device.notify(RX);
        for _ in 0..10 {
            machine.poll_streams();
        }
        let intact = !tables.iter().any(|(rx, _)| rx.flags & 6 != 0 && rx.addr < PACKET);
        if intact {
            prop_assert_eq!(usize::from(machine.tx.used_idx()), heads.iter().filter(|(_, tx)| *tx < 128).count());
            prop_assert!(usize::from(machine.rx.used_idx()) <= heads.len());
        }
    }
}

/// Where a header stands that descriptors like to point at, behind the queues.
const PACKET: u64 = 0x1_0000;

fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    let addr = prop_oneof![4 => Just(PACKET), 4 => 0x2_0000u64..0x10_0000, 1 => any::<u64>()];
    let len = prop_oneof![4 => Just(44u32), 2 => 0u32..5000, 1 => any::<u32>()];
    // Mostly chains that end at once, sometimes any.
    let flags = prop_oneof![2 => Just(0u16), 2 => Just(2u16), 1 => 0u16..8];
    (addr, len, flags, 0u16..130).prop_map(|(addr, len, flags, next)| Descriptor {
        addr,
        len,
        flags,
        next,
    })
}
