//! Whole frames of a few bytes: neighbors, echoes, bad news.

use super::build::{NEXT_ICMPV6, NEXT_TCP, NEXT_UDP, TYPE_ARP};
use super::{Headers, build};
use crate::addresses::{GATEWAY_MAC, gateway_like};
use crate::policy::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a destination is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// There is no way.
    Network,
    /// Nobody is there.
    Host,
    /// Nobody listens.
    Port,
    /// It is not permitted.
    Prohibited,
}

impl Unreachable {
    /// Type and code (RFC 792, 1812).
    const fn v4(self) -> (u8, u8) {
        match self {
            Self::Network => (3, 0),
            Self::Host => (3, 1),
            Self::Port => (3, 3),
            Self::Prohibited => (3, 13),
        }
    }

    /// Type and code (RFC 4443).
    const fn v6(self) -> (u8, u8) {
        match self {
            Self::Network => (1, 0),
            Self::Host => (1, 3),
            Self::Port => (1, 4),
            Self::Prohibited => (1, 1),
        }
    }
}

/// Says who the gateway is.
pub(crate) fn arp_reply(mac: [u8; 6], guest: Ipv4Addr, asked: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&GATEWAY_MAC);
    frame.extend_from_slice(&TYPE_ARP.to_be_bytes());
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend_from_slice(&GATEWAY_MAC);
    frame.extend_from_slice(&asked.octets());
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&guest.octets());
    frame
}

/// The same in IPv6 (RFC 4861, section 4.4): solicited, overriding, by a router.
pub(crate) fn neighbor_advertisement(mac: [u8; 6], guest: Ipv6Addr, asked: Ipv6Addr) -> Vec<u8> {
    let mut body = Vec::with_capacity(24);
    body.extend_from_slice(&asked.octets());
    body.extend_from_slice(&[2, 1]);
    body.extend_from_slice(&GATEWAY_MAC);
    let mut headers = Headers::default();
    let head = [136, 0, 0, 0, 0xe0, 0, 0, 0];
    headers.icmp(mac, (asked.into(), guest.into()), head, &body);
    headers.mark_as_local();
    joined(&headers, &body)
}

/// The answer to an echo request.
pub(crate) fn echo_reply(
    mac: [u8; 6],
    (from, to): (IpAddr, IpAddr),
    (ident, sequence): (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let kind = if from.is_ipv4() { 0 } else { 129 };
    let ([a, b], [c, d]) = (ident.to_be_bytes(), sequence.to_be_bytes());
    let mut headers = Headers::default();
    headers.icmp(mac, (from, to), [kind, 0, 0, 0, a, b, c, d], payload);
    joined(&headers, payload)
}

/// The bad news about a flow. It carries the start of what it is about, as far as it matters: the addresses, and
/// eight bytes by which the guest finds the socket.
pub(crate) fn unreachable(
    mac: [u8; 6],
    protocol: Protocol,
    (guest, remote): (SocketAddr, SocketAddr),
    first: [u8; 8],
    why: Unreachable,
) -> Vec<u8> {
    let mut about = Headers::default();
    let next = match (protocol, guest) {
        (Protocol::Tcp, _) => NEXT_TCP,
        (Protocol::Udp, _) => NEXT_UDP,
        (Protocol::Ping, SocketAddr::V4(_)) => build::NEXT_ICMP,
        (Protocol::Ping, SocketAddr::V6(_)) => NEXT_ICMPV6,
    };
    about.icmp(mac, (guest.ip(), remote.ip()), first, &[]);
    let mut body = about.bytes()[super::ETHERNET..].to_vec();
    let start = body.len() - first.len();
    body[start..].copy_from_slice(&first);
    let place = if guest.is_ipv4() { 9 } else { 6 };
    body[place] = next;
    let (kind, code) = if guest.is_ipv4() { why.v4() } else { why.v6() };
    let mut headers = Headers::default();
    let from = gateway_like(guest.ip());
    headers.icmp(
        mac,
        (from, guest.ip()),
        [kind, code, 0, 0, 0, 0, 0, 0],
        &body,
    );
    joined(&headers, &body)
}

fn joined(headers: &Headers, payload: &[u8]) -> Vec<u8> {
    [headers.bytes(), payload].concat()
}
