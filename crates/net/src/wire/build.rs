//! Headers for the guest.

use super::{IPV4, IPV6, TCP, flag};
use crate::addresses::GATEWAY_MAC;
use std::net::{IpAddr, SocketAddr};

pub(super) const TYPE_IPV4: u16 = 0x0800;
pub(super) const TYPE_ARP: u16 = 0x0806;
pub(super) const TYPE_IPV6: u16 = 0x86dd;
pub(super) const NEXT_ICMP: u8 = 1;
pub(super) const NEXT_TCP: u8 = 6;
pub(super) const NEXT_UDP: u8 = 17;
pub(super) const NEXT_ICMPV6: u8 = 58;
const HOPS: u8 = 64;

/// Who finishes a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// The guest, when it needs it: the field holds the pseudo header's sum.
    Guest,
    /// Us, over this payload.
    Here,
}

/// What a TCP segment says besides its payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpHeader<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: &'a [u8],
}

/// Headers under construction, in a buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    bytes: Vec<u8>,
    transport: usize,
    checksum: u16,
}

impl Headers {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the transport's header starts, and where in it the checksum is.
    pub(crate) const fn checksum_place(&self) -> (u16, u16) {
        (self.transport as u16, self.checksum)
    }

    /// Headers of a segment.
    pub(crate) fn tcp(
        &mut self,
        mac: [u8; 6],
        (from, to): (SocketAddr, SocketAddr),
        header: &TcpHeader<'_>,
        (payload, checksum): (&[u8], Checksum),
    ) {
        let length = TCP + header.options.len() + payload.len();
        self.begin(mac, from.ip(), to.ip(), NEXT_TCP, length);
        self.put(&from.port().to_be_bytes());
        self.put(&to.port().to_be_bytes());
        self.put(&header.seq.to_be_bytes());
        let ack = if header.flags & flag::ACK != 0 {
            header.ack
        } else {
            0
        };
        self.put(&ack.to_be_bytes());
        let words = (TCP + header.options.len()) / 4;
        self.put(&[(words << 4) as u8, header.flags]);
        self.put(&header.window.to_be_bytes());
        self.put(&[0; 4]);
        self.put(header.options);
        self.checksum = 16;
        let pseudo = pseudo_sum(from.ip(), to.ip(), NEXT_TCP, length);
        self.finish(pseudo, payload, checksum);
    }

    /// Headers of a datagram.
    pub(crate) fn udp(
        &mut self,
        mac: [u8; 6],
        (from, to): (SocketAddr, SocketAddr),
        (payload, checksum): (&[u8], Checksum),
    ) {
        let length = 8 + payload.len();
        self.begin(mac, from.ip(), to.ip(), NEXT_UDP, length);
        self.put(&from.port().to_be_bytes());
        self.put(&to.port().to_be_bytes());
        self.put(&(length as u16).to_be_bytes());
        self.put(&[0; 2]);
        self.checksum = 6;
        let pseudo = pseudo_sum(from.ip(), to.ip(), NEXT_UDP, length);
        self.finish(pseudo, payload, checksum);
    }

    /// Headers of an ICMP message whose own header is `head`, with its checksum at byte 2.
    pub(crate) fn icmp(
        &mut self,
        mac: [u8; 6],
        (from, to): (IpAddr, IpAddr),
        head: [u8; 8],
        payload: &[u8],
    ) {
        let length = head.len() + payload.len();
        let (next, pseudo) = match from {
            IpAddr::V4(_) => (NEXT_ICMP, 0),
            IpAddr::V6(_) => (NEXT_ICMPV6, pseudo_sum(from, to, NEXT_ICMPV6, length)),
        };
        self.begin(mac, from, to, next, length);
        self.put(&head);
        self.checksum = 2;
        self.finish(pseudo, payload, Checksum::Here);
    }

    /// Neighbor discovery is believed from the same link only: no router may have seen it.
    pub(crate) fn mark_as_local(&mut self) {
        self.bytes[super::ETHERNET + 7] = 255;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Ethernet and IP.
    fn begin(&mut self, mac: [u8; 6], from: IpAddr, to: IpAddr, next: u8, length: usize) {
        self.bytes.clear();
        self.put(&mac);
        self.put(&GATEWAY_MAC);
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                self.put(&TYPE_IPV4.to_be_bytes());
                let start = self.bytes.len();
                self.put(&[0x45, 0]);
                self.put(&((IPV4 + length) as u16).to_be_bytes());
                // No identification and never to be cut: one goes with the other (RFC 6864).
                self.put(&[0, 0, 0x40, 0, HOPS, next, 0, 0]);
                self.put(&from.octets());
                self.put(&to.octets());
                let sum = finish_sum(sum(&self.bytes[start..], 0));
                self.bytes[start + 10..start + 12].copy_from_slice(&sum);
            }
            (from, to) => {
                let octets = |address| match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                self.put(&TYPE_IPV6.to_be_bytes());
                self.put(&[0x60, 0, 0, 0]);
                self.put(&(length as u16).to_be_bytes());
                self.put(&[next, HOPS]);
                self.put(&octets(from));
                self.put(&octets(to));
            }
        }
        self.transport = self.bytes.len();
    }

    fn finish(&mut self, pseudo: u32, payload: &[u8], checksum: Checksum) {
        let at = self.transport + usize::from(self.checksum);
        let value = match checksum {
            Checksum::Guest => fold(pseudo).to_be_bytes(),
            Checksum::Here => {
                let header = sum(&self.bytes[self.transport..], pseudo);
                finish_sum(sum(payload, header))
            }
        };
        self.bytes[at..at + 2].copy_from_slice(&value);
    }
}

pub(super) fn pseudo_sum(from: IpAddr, to: IpAddr, next: u8, length: usize) -> u32 {
    let start = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(&to.octets(), sum(&from.octets(), 0)),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(&to.octets(), sum(&from.octets(), 0)),
        _ => 0,
    };
    start + u32::from(next) + length as u32
}

/// Adds the 16-bit words of `bytes` (RFC 1071); the last byte of an odd number counts as a high one. At most some
/// 64 KiB are added up, which 32 bits hold.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let words = bytes.chunks_exact(2);
    let odd = words
        .remainder()
        .first()
        .map_or(0, |&byte| u32::from(byte) << 8);
    words.fold(start + odd, |sum, word| {
        sum + u32::from(u16::from_be_bytes([word[0], word[1]]))
    })
}

pub(super) const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Zero says that there is none in UDP; all ones are the same sum.
fn finish_sum(sum: u32) -> [u8; 2] {
    match !fold(sum) {
        0 => [0xff, 0xff],
        sum => sum.to_be_bytes(),
    }
}

const _: () = assert!(IPV6 == 40);
