//! The socket device, seen by a guest and by the streams of a host.

use super::credit::BUFFER;
use super::guest::{Machine, Packet, Peer, TX};
use super::packet::{
    HOST_CID, Header, Op, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, TYPE_STREAM,
};
use crate::virtio::VirtioDevice;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

const ROOM: u32 = 1 << 20;

fn ops(packets: &[Packet]) -> Vec<Op> {
    packets.iter().map(Packet::op).collect()
}

fn data(packets: &[Packet]) -> Vec<u8> {
    packets
        .iter()
        .flat_map(|packet| packet.data.clone())
        .collect()
}

/// Everything that can be read now; the flag tells whether the end was reached.
fn read_all(stream: &mut UnixStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => (bytes, false),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn bytes_flow_both_ways_once_the_guest_accepts() {
    let mut machine = Machine::new();
    let (id, mut stream) = machine.connect(1024);
    stream.write_all(b"early").unwrap();
    let packets = machine.exchange();
    assert_eq!(
        ops(&packets),
        [Op::Request],
        "nothing may come in front of the guest's answer"
    );
    let request = packets[0].header;
    assert_eq!(
        (request.src_cid, request.dst_port, request.buf_alloc),
        (HOST_CID, 1024, BUFFER)
    );
    let peer = Peer {
        guest_port: 1024,
        host_port: id.get(),
        buf_alloc: ROOM,
        fwd_cnt: 0,
    };
    machine.say(peer.header(Op::Response, 0), &[]);
    let packets = machine.exchange();
    assert_eq!(
        (ops(&packets), data(&packets)),
        (vec![Op::Data], b"early".to_vec())
    );
    machine.say(peer.header(Op::Data, 6), b"answer");
    assert_eq!(read_all(&mut stream), (b"answer".to_vec(), false));
}

#[test]
fn a_refusal_ends_the_stream() {
    let mut machine = Machine::new();
    let (id, mut stream) = machine.connect(1024);
    stream.write_all(b"early").unwrap();
    machine.exchange();
    let peer = Peer {
        guest_port: 1024,
        host_port: id.get(),
        buf_alloc: 0,
        fwd_cnt: 0,
    };
    machine.say(peer.header(Op::Reset, 0), &[]);
    assert_eq!(read_all(&mut stream), (vec![], true));
    assert_eq!(machine.device.connections(), 0);
    assert!(machine.exchange().is_empty());
}

#[test]
fn what_the_guest_opens_is_refused_and_remembered() {
    let mut machine = Machine::new();
    for port in [1, 1, 77] {
        let peer = Peer {
            guest_port: 5000,
            host_port: port,
            buf_alloc: ROOM,
            fwd_cnt: 0,
        };
        machine.say(peer.header(Op::Request, 0), &[]);
    }
    let packets = machine.exchange();
    assert_eq!(ops(&packets), [Op::Reset; 3]);
    let header = packets[2].header;
    assert_eq!(
        (header.src_cid, header.src_port, header.dst_port),
        (HOST_CID, 77, 5000)
    );
    assert_eq!(machine.device.take_refused(), [1, 77]);
    assert!(machine.device.take_refused().is_empty());
}

#[test]
fn the_host_stops_sending_when_the_guest_has_no_room_and_goes_on_when_it_has() {
    let mut machine = Machine::new();
    let (mut peer, mut stream) = machine.connect_accepted(1024, 10_000);
    stream.write_all(&[7; 30_000]).unwrap();
    let first = data(&machine.exchange());
    assert_eq!(first.len(), 10_000);
    peer.fwd_cnt = 9_000;
    machine.say(peer.header(Op::CreditUpdate, 0), &[]);
    assert_eq!(data(&machine.exchange()).len(), 9_000);
    peer.fwd_cnt = 19_000;
    peer.buf_alloc = ROOM;
    machine.say(peer.header(Op::CreditUpdate, 0), &[]);
    assert_eq!(data(&machine.exchange()).len(), 11_000);
}

#[test]
fn a_stream_that_does_not_read_costs_the_guest_its_credit_and_us_one_buffer() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    let mut sent = Vec::new();
    // Sends until there is no credit left: the socket takes a part, and what it took may be sent again.
    loop {
        machine.say(peer.header(Op::CreditRequest, 0), &[]);
        let forwarded = machine.exchange().last().unwrap().header.fwd_cnt as usize;
        let credit = BUFFER as usize + forwarded - sent.len();
        if credit == 0 {
            break;
        }
        let chunk: Vec<u8> = (0..credit.min(50_000))
            .map(|i| (sent.len() + i) as u8)
            .collect();
        machine.say(peer.header(Op::Data, chunk.len()), &chunk);
        sent.extend(chunk);
    }
    assert!(sent.len() > BUFFER as usize);
    machine.say(peer.header(Op::Data, 1), b"x");
    assert_eq!(ops(&machine.exchange()), [Op::Reset]);
    // What had credit still arrives in full, and nothing else.
    let mut seen = Vec::new();
    let mut ended = false;
    while !ended {
        let (bytes, end) = read_all(&mut stream);
        seen.extend(bytes);
        ended = end;
        machine.poll_streams();
    }
    assert!(seen == sent);
    assert_eq!(machine.device.connections(), 0);
}

#[test]
fn a_guest_that_only_sends_never_runs_dry() {
    const TOTAL: usize = 5 << 20;
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    let (mut sent, mut forwarded, mut read) = (0, 0, 0);
    while sent < TOTAL {
        let credit = BUFFER as usize - (sent - forwarded);
        assert!(credit > 0, "stuck after {sent} bytes");
        let len = credit.min(64 << 10);
        machine.say(peer.header(Op::Data, len), &vec![1; len]);
        sent += len;
        read += read_all(&mut stream).0.len();
        for packet in machine.exchange() {
            assert_eq!(packet.op(), Op::CreditUpdate);
            forwarded = packet.header.fwd_cnt as usize;
        }
    }
    assert_eq!(read + read_all(&mut stream).0.len(), sent);
}

#[test]
fn a_credit_request_is_answered() {
    let mut machine = Machine::new();
    let (peer, _stream) = machine.connect_accepted(1024, ROOM);
    machine.say(peer.header(Op::Data, 100), &[0; 100]);
    machine.say(peer.header(Op::CreditRequest, 0), &[]);
    let packets = machine.exchange();
    assert_eq!(ops(&packets), [Op::CreditUpdate]);
    assert_eq!(
        (packets[0].header.buf_alloc, packets[0].header.fwd_cnt),
        (BUFFER, 100)
    );
}

#[test]
fn each_direction_ends_on_its_own() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    stream.write_all(b"last").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let packets = machine.exchange();
    assert_eq!(ops(&packets), [Op::Data, Op::Shutdown]);
    assert_eq!(packets[1].header.flags, SHUTDOWN_SEND);
    machine.say(peer.header(Op::Data, 5), b"still");
    assert_eq!(read_all(&mut stream), (b"still".to_vec(), false));
    machine.say(peer.shutdown(SHUTDOWN_SEND), &[]);
    assert_eq!(read_all(&mut stream), (vec![], true));
    machine.say(peer.shutdown(SHUTDOWN_BOTH), &[]);
    machine.exchange();
    assert_eq!(machine.device.connections(), 0);
}

#[test]
fn a_guest_that_shut_its_sending_side_still_receives() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    machine.say(peer.header(Op::Data, 4), b"bye!");
    machine.say(peer.shutdown(SHUTDOWN_SEND), &[]);
    assert_eq!(read_all(&mut stream), (b"bye!".to_vec(), true));
    stream.write_all(b"reply").unwrap();
    assert_eq!(data(&machine.exchange()), b"reply");
    machine.say(peer.header(Op::Data, 4), b"more");
    assert_eq!(
        ops(&machine.exchange()),
        [Op::Reset],
        "data after the end of data"
    );
}

#[test]
fn a_guest_that_receives_no_more_makes_the_stream_refuse_writes() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    machine.say(peer.shutdown(SHUTDOWN_RECEIVE), &[]);
    machine.exchange();
    assert_eq!(
        stream.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    machine.say(peer.header(Op::Data, 2), b"ok");
    assert_eq!(read_all(&mut stream), (b"ok".to_vec(), false));
}

#[test]
fn closing_in_the_guest_ends_the_stream_after_its_last_byte() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, ROOM);
    // Unread input must not turn the end of the stream into an error.
    stream.write_all(b"never read").unwrap();
    machine.say(peer.header(Op::Data, 4), b"exit");
    machine.say(peer.shutdown(SHUTDOWN_BOTH), &[]);
    assert_eq!(ops(&machine.exchange()), [Op::Reset]);
    assert_eq!(read_all(&mut stream), (b"exit".to_vec(), true));
    assert_eq!(machine.device.connections(), 0);
}

#[test]
fn closing_on_the_host_resets_after_its_last_byte() {
    let mut machine = Machine::new();
    let (peer, mut stream) = machine.connect_accepted(1024, 10);
    stream.write_all(b"more than ten bytes").unwrap();
    drop(stream);
    let packets = machine.exchange();
    assert_eq!(data(&packets), b"more than ");
    let peer = Peer {
        buf_alloc: 100,
        ..peer
    };
    machine.say(peer.header(Op::CreditUpdate, 0), &[]);
    let packets = machine.exchange();
    assert_eq!(data(&packets), b"ten bytes");
    assert_eq!(packets.last().unwrap().op(), Op::Reset);
    assert_eq!(machine.device.connections(), 0);
}

#[test]
fn a_stream_closed_before_the_guest_answers_still_delivers() {
    let mut machine = Machine::new();
    let (id, mut stream) = machine.connect(1024);
    stream.write_all(b"fire and forget").unwrap();
    drop(stream);
    assert_eq!(ops(&machine.exchange()), [Op::Request]);
    let peer = Peer {
        guest_port: 1024,
        host_port: id.get(),
        buf_alloc: ROOM,
        fwd_cnt: 0,
    };
    machine.say(peer.header(Op::Response, 0), &[]);
    let packets = machine.exchange();
    assert_eq!(data(&packets), b"fire and forget");
    assert_eq!(packets.last().unwrap().op(), Op::Reset);
}

#[test]
fn what_waits_for_receive_buffers_goes_out_when_they_come() {
    let mut machine = Machine::new();
    let streams: Vec<_> = (0..300).map(|_| machine.connect(1024)).collect();
    assert!(machine.take_rx().is_empty());
    machine.post_rx(1);
    assert_eq!(ops(&machine.take_rx()), [Op::Request]);
    let rest = machine.exchange();
    assert_eq!(rest.len(), 299);
    assert_eq!(machine.device.connections(), streams.len());
}

#[test]
fn a_busy_stream_leaves_turns_to_the_others() {
    let mut machine = Machine::new();
    let (_, mut busy) = machine.connect_accepted(1, ROOM);
    let (quiet_peer, mut quiet) = machine.connect_accepted(2, ROOM);
    busy.write_all(&[0; 100_000]).unwrap();
    quiet.write_all(b"ping").unwrap();
    machine.take_rx();
    machine.poll_streams();
    machine.post_rx(128);
    let packets = machine.take_rx();
    let turn = packets
        .iter()
        .position(|packet| packet.header.dst_port == quiet_peer.guest_port);
    assert!(turn.unwrap() <= 2, "{turn:?}");
}

#[test]
fn many_packets_are_few_interrupts() {
    let mut machine = Machine::new();
    let (_, mut stream) = machine.connect_accepted(1, ROOM);
    machine.exchange();
    machine.post_rx(128);
    stream.write_all(&[1; 80_000]).unwrap();
    machine.probe.interrupts();
    machine.poll_streams();
    assert_eq!(machine.probe.interrupts(), 1);
}

#[test]
fn a_reset_of_the_device_ends_every_stream() {
    let mut machine = Machine::new();
    let (_, mut stream) = machine.connect_accepted(1, ROOM);
    machine.device.reset();
    assert_eq!(read_all(&mut stream), (vec![], true));
    assert_eq!(machine.device.connections(), 0);
    machine.device.notify(TX);
}

#[test]
fn packets_of_no_connection_are_reset_but_resets_are_not() {
    let mut machine = Machine::new();
    let (peer, _stream) = machine.connect_accepted(1, ROOM);
    machine.exchange();
    let strangers = [
        Peer {
            guest_port: 2,
            ..peer
        },
        Peer {
            host_port: peer.host_port + 1,
            ..peer
        },
    ];
    for stranger in strangers {
        for op in [
            Op::Response,
            Op::Shutdown,
            Op::Data,
            Op::CreditUpdate,
            Op::CreditRequest,
        ] {
            machine.say(stranger.header(op, 0), &[]);
            assert_eq!(ops(&machine.exchange()), [Op::Reset]);
        }
        machine.say(stranger.header(Op::Reset, 0), &[]);
        assert!(machine.exchange().is_empty());
    }
    // Another destination is told that nobody is there; another source does not exist.
    machine.say(
        Header {
            dst_cid: 42,
            ..peer.header(Op::Request, 0)
        },
        &[],
    );
    let packets = machine.exchange();
    assert_eq!(
        (ops(&packets), packets[0].header.src_cid),
        (vec![Op::Reset], 42)
    );
    assert!(machine.device.take_refused().is_empty());
    machine.say(
        Header {
            src_cid: 42,
            ..peer.header(Op::Data, 0)
        },
        &[],
    );
    assert!(machine.exchange().is_empty());
    assert_eq!(machine.device.connections(), 1);
}

#[test]
fn packets_that_break_the_rules_break_the_connection() {
    let breaches: [fn(&Peer) -> Header; 6] = [
        |peer| Header {
            op: 99,
            ..peer.header(Op::Data, 0)
        },
        |peer| Header {
            op: 0,
            ..peer.header(Op::Data, 0)
        },
        |peer| Header {
            kind: TYPE_STREAM + 1,
            ..peer.header(Op::Data, 0)
        },
        |peer| peer.header(Op::Data, 1_000_000),
        |peer| peer.header(Op::Response, 0),
        |peer| peer.header(Op::Request, 0),
    ];
    for breach in breaches {
        let mut machine = Machine::new();
        let (peer, mut stream) = machine.connect_accepted(1, ROOM);
        machine.exchange();
        machine.say(breach(&peer), &[]);
        assert_eq!(ops(&machine.exchange()), [Op::Reset]);
        assert_eq!(read_all(&mut stream), (vec![], true));
        assert_eq!(machine.device.connections(), 0);
    }
}

#[test]
fn resets_nobody_takes_do_not_pile_up() {
    let mut machine = Machine::new();
    for port in 0..2000 {
        let peer = Peer {
            guest_port: port,
            host_port: port,
            buf_alloc: 0,
            fwd_cnt: 0,
        };
        machine.say(peer.header(Op::Request, 0), &[]);
        machine.take_rx();
    }
    assert_eq!(machine.exchange().len(), 256);
    assert_eq!(machine.device.take_refused().len(), 64);
}
