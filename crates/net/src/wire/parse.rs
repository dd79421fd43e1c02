//! What a frame of the guest says.

use smoltcp::wire::{
    ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet,
    Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket,
    UdpPacket,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A packet of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Who has this IPv4 address?
    Who { from: Ipv4Addr, asked: Ipv4Addr },
    /// Who has this IPv6 address?
    WhoV6 { from: Ipv6Addr, asked: Ipv6Addr },
    /// A segment.
    Tcp {
        from: SocketAddr,
        to: SocketAddr,
        segment: Segment<'a>,
    },
    /// A datagram.
    Udp {
        from: SocketAddr,
        to: SocketAddr,
        payload: &'a [u8],
    },
    /// An echo request.
    Echo {
        from: IpAddr,
        to: IpAddr,
        ident: u16,
        sequence: u16,
        payload: &'a [u8],
    },
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    /// As it stands in the header.
    pub(crate) window: u16,
    /// Of a SYN: the option, if there is one.
    pub(crate) mss: Option<u16>,
    /// Of a SYN: the option, if there is one.
    pub(crate) scale: Option<u8>,
    pub(crate) payload: &'a [u8],
}

/// Reads a frame. `None`: nothing for us, or nothing at all.
///
/// Checksums are not looked at: frames cross no wire, and what the guest leaves to the card has none. Fragments are
/// for nobody: the link takes whole packets of any size.
pub(crate) fn parse(frame: &[u8]) -> Option<Packet<'_>> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let payload = ethernet.payload();
    match ethernet.ethertype() {
        EthernetProtocol::Arp => arp(payload),
        EthernetProtocol::Ipv4 => ipv4(payload),
        EthernetProtocol::Ipv6 => ipv6(payload),
        EthernetProtocol::Unknown(_) => None,
    }
}

/// The hardware address that a frame comes from.
pub(crate) fn sender(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(6..12)?.try_into().ok()
}

fn arp(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = ArpPacket::new_checked(bytes).ok()?;
    let v4 = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?));
    let is_ours = packet.protocol_type() == EthernetProtocol::Ipv4
        && packet.hardware_len() == 6
        && packet.protocol_len() == 4
        && packet.operation() == ArpOperation::Request;
    is_ours.then_some(())?;
    Some(Packet::Who {
        from: v4(packet.source_protocol_addr())?,
        asked: v4(packet.target_protocol_addr())?,
    })
}

fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    if packet.version() != 4 || packet.more_frags() || packet.frag_offset() != 0 {
        return None;
    }
    let ends = (packet.src_addr().into(), packet.dst_addr().into());
    let payload = packet.payload();
    match packet.next_header() {
        IpProtocol::Tcp => tcp(ends, payload),
        IpProtocol::Udp => udp(ends, payload),
        IpProtocol::Icmp => {
            let message = Icmpv4Packet::new_checked(payload).ok()?;
            (message.msg_type() == Icmpv4Message::EchoRequest).then_some(())?;
            Some(Packet::Echo {
                from: ends.0,
                to: ends.1,
                ident: message.echo_ident(),
                sequence: message.echo_seq_no(),
                payload: payload.get(8..)?,
            })
        }
        _ => None,
    }
}

/// Extension headers are for nobody: the guest's kernel sends none of its own accord.
fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = Ipv6Packet::new_checked(bytes).ok()?;
    (packet.version() == 6).then_some(())?;
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let ends = (from.into(), to.into());
    let payload = packet.payload();
    match packet.next_header() {
        IpProtocol::Tcp => tcp(ends, payload),
        IpProtocol::Udp => udp(ends, payload),
        IpProtocol::Icmpv6 => icmpv6((from, to), payload),
        _ => None,
    }
}

fn icmpv6((from, to): (Ipv6Addr, Ipv6Addr), bytes: &[u8]) -> Option<Packet<'_>> {
    let message = Icmpv6Packet::new_checked(bytes).ok()?;
    match message.msg_type() {
        Icmpv6Message::EchoRequest => Some(Packet::Echo {
            from: from.into(),
            to: to.into(),
            ident: message.echo_ident(),
            sequence: message.echo_seq_no(),
            payload: bytes.get(8..)?,
        }),
        Icmpv6Message::NeighborSolicit => {
            let asked = <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?;
            Some(Packet::WhoV6 {
                from,
                asked: asked.into(),
            })
        }
        _ => None,
    }
}

pub(super) fn tcp((from, to): (IpAddr, IpAddr), bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = TcpPacket::new_checked(bytes).ok()?;
    let header = usize::from(packet.header_len());
    let (mut mss, mut scale) = (None, None);
    if packet.syn() {
        let mut options = packet.options();
        while let Ok((rest, option)) = TcpOption::parse(options) {
            match option {
                TcpOption::EndOfList => break,
                TcpOption::MaxSegmentSize(size) => mss = Some(size),
                TcpOption::WindowScale(shift) => scale = Some(shift.min(14)),
                _ => {}
            }
            if rest.is_empty() {
                break;
            }
            options = rest;
        }
    }
    Some(Packet::Tcp {
        from: SocketAddr::new(from, packet.src_port()),
        to: SocketAddr::new(to, packet.dst_port()),
        segment: Segment {
            seq: packet.seq_number().0.cast_unsigned(),
            ack: packet.ack().then(|| packet.ack_number().0.cast_unsigned()),
            syn: packet.syn(),
            fin: packet.fin(),
            rst: packet.rst(),
            window: packet.window_len(),
            mss,
            scale,
            payload: bytes.get(header..)?,
        },
    })
}

fn udp((from, to): (IpAddr, IpAddr), bytes: &[u8]) -> Option<Packet<'_>> {
    let packet = UdpPacket::new_checked(bytes).ok()?;
    let length = usize::from(packet.len());
    Some(Packet::Udp {
        from: SocketAddr::new(from, packet.src_port()),
        to: SocketAddr::new(to, packet.dst_port()),
        payload: bytes.get(8..length)?,
    })
}
