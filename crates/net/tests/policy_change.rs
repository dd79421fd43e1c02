//! Other rules while there are flows: what they refuse ends at once, on both sides.

mod common;

use common::{ACK, SYN, Wire, heard, network, segment, turn, until};
use net::Stack;
use net::policy::{Mode, Policy};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

const RST: u8 = 4;
/// The guest's ports.
const KEPT: u16 = 20_000;
const CUT: u16 = 20_001;
const AGAIN: u16 = 20_002;

fn policy(mode: Mode, rules: &[String]) -> Policy {
    let rules = rules.iter().map(String::as_str).chain(["deny:*"]);
    Policy {
        mode,
        rules: rules.map(|rule| rule.parse().unwrap()).collect(),
    }
}

fn says(port: u16, wanted: u8) -> impl Fn(&[u8]) -> bool {
    move |frame| heard(frame).is_some_and(|(to, _, flags)| to == port && flags == wanted)
}

/// A connection to a service that has taken it.
fn connect(
    (stack, wire): (&mut Stack, &mut Wire),
    from: u16,
    service: &TcpListener,
) -> (TcpStream, u32) {
    let to = service.local_addr().unwrap().port();
    wire.sent.push_back(segment((from, to), (7, 0), SYN, &[]));
    let greeting = until(stack, wire, says(from, SYN | ACK));
    let (_, seq, _) = heard(&greeting).unwrap();
    wire.sent
        .push_back(segment((from, to), (8, seq + 1), ACK, b"a"));
    turn(stack, wire);
    let (mut taken, _) = service.accept().unwrap();
    taken.read_exact(&mut [0]).unwrap();
    (taken, seq + 1)
}

#[test]
fn connections_that_new_rules_refuse_are_reset_on_both_sides_and_others_go_on() {
    let [kept, cut] = [0, 1].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let rules = [&kept, &cut].map(|service| format!("allow:{}/tcp", service.local_addr().unwrap()));
    let mut stack = network(&rules, Vec::new());
    let mut wire = Wire::default();
    let (mut kept_peer, _) = connect((&mut stack, &mut wire), KEPT, &kept);
    let (mut cut_peer, _) = connect((&mut stack, &mut wire), CUT, &cut);

    stack.set_policy(policy(Mode::Public, &rules[..1]));
    assert_eq!(stack.take_refusals().1, 1);
    until(&mut stack, &mut wire, says(CUT, RST | ACK));
    let error = cut_peer.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let port = cut.local_addr().unwrap().port();
    wire.sent
        .push_back(segment((AGAIN, port), (7, 0), SYN, &[]));
    until(&mut stack, &mut wire, says(AGAIN, RST | ACK));
    kept_peer.write_all(b"still here").unwrap();
    let content = |frame: &[u8]| frame.ends_with(b"still here");
    until(&mut stack, &mut wire, content);

    stack.set_policy(policy(Mode::Public, &rules));
    connect((&mut stack, &mut wire), AGAIN, &cut);
}

/// A datagram of the guest's to the gateway.
fn datagram((from, to): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut frame = segment((from, to), (0, 0), 0, &[]);
    frame.truncate(38);
    frame[16..18].copy_from_slice(&(20 + length).to_be_bytes());
    frame[23] = 17;
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(payload);
    frame
}

/// A question for the address of `a`.
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

#[test]
fn without_a_network_any_more_datagrams_and_questions_are_refused_whatever_the_rules_say() {
    let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = service.local_addr().unwrap();
    let rules = [format!("allow:{to}/udp")];
    let mut stack = network(&rules, vec![names.local_addr().unwrap()]);
    let mut wire = Wire::default();
    wire.sent.push_back(datagram((KEPT, to.port()), b"hello"));
    turn(&mut stack, &mut wire);
    let (count, flow) = service.recv_from(&mut [0; 100]).unwrap();
    assert_eq!(count, 5);

    stack.set_policy(policy(Mode::Nothing, &rules));
    let prohibited = |frame: &[u8]| frame.get(23) == Some(&1) && frame[34..36] == [3, 13];
    until(&mut stack, &mut wire, prohibited);
    // Its socket is closed: the kernel says so to who answers.
    service.connect(flow).unwrap();
    service.send(b"late").unwrap();
    let error = service.recv(&mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    wire.sent.push_back(datagram((KEPT, to.port()), b"again"));
    until(&mut stack, &mut wire, prohibited);
    wire.sent.push_back(datagram((KEPT, 53), QUESTION));
    let refused = |frame: &[u8]| frame.get(42..44) == Some(&[0x12, 0x34]) && frame[45] & 15 == 5;
    until(&mut stack, &mut wire, refused);
    names.set_nonblocking(true).unwrap();
    assert!(names.recv(&mut [0; 100]).is_err());
}
