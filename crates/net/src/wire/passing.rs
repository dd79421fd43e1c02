//! Packets that go from one guest to another as they are.

use super::build::{NEXT_ICMP, NEXT_TCP, NEXT_UDP, fold, pseudo_sum};
use super::parse::{Packet, tcp};
use super::{ETHERNET, IPV4, Segment};
use crate::addresses::{GATEWAY_MAC, MTU};
use smoltcp::wire::Ipv4Packet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the transport's header is in a frame.
const TRANSPORT: u16 = (ETHERNET + IPV4) as u16;
/// Messages that one guest may send another one: answers, bad news, questions. A redirect is the gateway's.
const MESSAGES: [u8; 3] = [0, 3, 8];

/// An IPv4 packet that is whole, without options, and no longer than the link takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passing<'a> {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    /// All of it, headers first, and nothing behind it.
    pub(crate) bytes: &'a [u8],
    protocol: u8,
}

impl<'a> Passing<'a> {
    /// Reads the packet of a frame.
    pub(crate) fn of_frame(frame: &'a [u8]) -> Option<Self> {
        let is_v4 = frame.get(12..ETHERNET) == Some(&[8, 0]);
        Self::read(frame.get(ETHERNET..).filter(|_| is_v4)?)
    }

    /// Reads a packet; what follows it is left out.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let packet = Ipv4Packet::new_checked(bytes).ok()?;
        let length = usize::from(packet.total_len());
        let is_plain = packet.version() == 4
            && usize::from(packet.header_len()) == IPV4
            && length <= usize::from(MTU)
            && !packet.more_frags()
            && packet.frag_offset() == 0;
        let bytes = bytes.get(..length).filter(|_| is_plain)?;
        let passing = Self {
            from: packet.src_addr(),
            to: packet.dst_addr(),
            bytes,
            protocol: packet.next_header().into(),
        };
        let content = passing.content();
        let is_known = match passing.protocol {
            NEXT_TCP => passing.segment().is_some(),
            NEXT_UDP => content.len() >= 8,
            NEXT_ICMP => content.len() >= 8 && MESSAGES.contains(&content[0]),
            _ => false,
        };
        is_known.then_some(passing)
    }

    fn content(&self) -> &'a [u8] {
        &self.bytes[IPV4..]
    }

    /// What a segment says, and its ends: where it comes from, where it goes.
    pub(crate) fn segment(&self) -> Option<((SocketAddr, SocketAddr), Segment<'a>)> {
        if self.protocol != NEXT_TCP {
            return None;
        }
        match tcp((self.from.into(), self.to.into()), self.content())? {
            Packet::Tcp { from, to, segment } => Some(((from, to), segment)),
            _ => None,
        }
    }

    /// The frame in which a guest gets it, with where its checksum is to be finished. Nobody has computed one for what
    /// never leaves this host's memory.
    pub(crate) fn frame(&self, mac: [u8; 6], frame: &mut Vec<u8>) -> Option<(u16, u16)> {
        frame.clear();
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&GATEWAY_MAC);
        frame.extend_from_slice(&[8, 0]);
        frame.extend_from_slice(self.bytes);
        let place = match self.protocol {
            NEXT_TCP => 16,
            NEXT_UDP => 6,
            _ => return None,
        };
        let ends: (IpAddr, IpAddr) = (self.from.into(), self.to.into());
        let sum = fold(pseudo_sum(
            ends.0,
            ends.1,
            self.protocol,
            self.content().len(),
        ));
        let at = usize::from(TRANSPORT + place);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        Some((TRANSPORT, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, content: &[u8]) -> Vec<u8> {
        let length = (20 + content.len()) as u16;
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[198, 18, 0, 1, 198, 18, 0, 2]);
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn what_follows_a_packet_is_left_out_and_its_checksum_is_the_guests_to_finish() {
        let mut bytes = packet(NEXT_UDP, b"\0\x01\0\x02\0\x0a\0\0hi");
        bytes.extend_from_slice(b"padding");
        let passing = Passing::read(&bytes).unwrap();
        assert_eq!(passing.bytes, &bytes[..30]);
        let mut frame = Vec::new();
        assert_eq!(passing.frame([2; 6], &mut frame), Some((34, 6)));
        assert_eq!(frame.len(), 44);
        // 198.18.0.1 + 198.18.0.2 + 17 + 10, folded.
        assert_eq!(frame[40..42], [0x8c, 0x43]);
    }

    #[test]
    fn fragments_options_redirects_and_stumps_pass_nobody() {
        assert!(Passing::read(&packet(NEXT_ICMP, &[8, 0, 0, 0, 0, 0, 0, 0])).is_some());
        assert!(Passing::read(&packet(NEXT_ICMP, &[5, 0, 0, 0, 0, 0, 0, 0])).is_none());
        assert!(Passing::read(&packet(NEXT_TCP, &[0; 19])).is_none());
        assert!(Passing::read(&packet(NEXT_UDP, &[0; 7])).is_none());
        assert!(Passing::read(&packet(47, &[0; 20])).is_none());
        let mut fragment = packet(NEXT_UDP, &[0; 8]);
        fragment[6] = 0x20;
        assert!(Passing::read(&fragment).is_none());
        let mut options = packet(NEXT_UDP, &[0; 16]);
        options[0] = 0x46;
        assert!(Passing::read(&options).is_none());
        let mut cut = packet(NEXT_UDP, &[0; 8]);
        cut.truncate(25);
        assert!(Passing::read(&cut).is_none());
    }
}
