use super::*;
use crate::policy::Protocol;
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, Icmpv4Packet, Icmpv4Repr, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};
use std::net::{IpAddr, SocketAddr};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
    let parse = |text: &str| text.parse().unwrap();
    match v6 {
        false => (parse("198.19.0.1:80"), parse("198.19.7.7:40000")),
        true => (parse("[fd53:6d76::1]:80"), parse("[fd53:6d76::7]:40000")),
    }
}

/// The transport's part of a frame, once the IP header has been found sound.
fn transport(frame: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    if let Ok(packet) = Ipv4Packet::new_checked(ethernet.payload())
        && packet.version() == 4
    {
        assert!(packet.verify_checksum());
        return (
            packet.src_addr().into(),
            packet.dst_addr().into(),
            packet.payload().to_vec(),
        );
    }
    let packet = Ipv6Packet::new_checked(ethernet.payload()).unwrap();
    (
        packet.src_addr().into(),
        packet.dst_addr().into(),
        packet.payload().to_vec(),
    )
}

proptest! {
    #[test]
    fn what_is_built_is_what_somebody_else_reads(
        v6 in any::<bool>(), seq in any::<u32>(), ack in any::<u32>(), flags in 0u8..32,
        payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let pair = ends(v6);
        let mut headers = Headers::default();
        let header = TcpHeader { seq, ack, flags, window: 77, options: &[2, 4, 5, 0xb4] };
        headers.tcp(MAC, pair, &header, (&payload, Checksum::Here));
        let frame = [headers.bytes(), &payload].concat();
        let (from, to, bytes) = transport(&frame);
        let segment = TcpPacket::new_checked(&bytes[..]).unwrap();
        prop_assert!(segment.verify_checksum(&from.into(), &to.into()));
        prop_assert_eq!(segment.payload(), &payload[..]);
        headers.udp(MAC, pair, (&payload, Checksum::Here));
        let frame = [headers.bytes(), &payload].concat();
        let (from, to, bytes) = transport(&frame);
        let datagram = UdpPacket::new_checked(&bytes[..]).unwrap();
        prop_assert!(datagram.verify_checksum(&from.into(), &to.into()));
        prop_assert_eq!(datagram.payload(), &payload[..]);
        let parsed = parse(&frame);
        prop_assert_eq!(parsed, Some(Packet::Udp { from: pair.0, to: pair.1, payload: &payload }));
    }

    #[test]
    fn no_frame_makes_the_parser_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
        let mut frame = bytes;
        if frame.len() > 34 {
            let [a, b, c] = [[0x08, 0, 0x45], [0x86, 0xdd, 0x60], [0x08, 6, 0], [0x08, 0, 0x46]][kind];
            frame[12..15].copy_from_slice(&[a, b, c]);
            frame[23] = [1, 6, 17, 58][kind];
            frame[20] = frame[23];
        }
        let _ = parse(&frame);
    }
}

#[test]
fn bad_news_names_the_socket_it_is_about() {
    let (remote, guest) = ends(false);
    let first = [0x9c, 0x40, 0, 80, 1, 2, 3, 4];
    let frame = unreachable(
        MAC,
        Protocol::Tcp,
        (guest, remote),
        first,
        Unreachable::Prohibited,
    );
    let (from, to, bytes) = transport(&frame);
    assert_eq!((from, to), (remote.ip(), guest.ip()));
    let packet = Icmpv4Packet::new_checked(&bytes[..]).unwrap();
    let Icmpv4Repr::DstUnreachable { header, data, .. } =
        Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap()
    else {
        panic!("another message");
    };
    assert_eq!(packet.msg_code(), 13);
    assert_eq!(
        (header.src_addr, header.dst_addr),
        ("198.19.7.7".parse().unwrap(), "198.19.0.1".parse().unwrap())
    );
    assert_eq!(data, first);
}
