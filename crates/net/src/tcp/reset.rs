//! Resets: for flows that end, and for segments that belong to none.

use crate::wire::{Checksum, Headers, Segment, TcpHeader, flag};
use std::net::SocketAddr;

pub(super) fn frame(
    mac: [u8; 6],
    ends: (SocketAddr, SocketAddr),
    header: &TcpHeader<'_>,
) -> Vec<u8> {
    let mut headers = Headers::default();
    headers.tcp(mac, ends, header, (&[], Checksum::Here));
    headers.bytes().to_vec()
}

/// The answer to a segment that nobody expects (RFC 9293, section 3.5.2).
pub(super) fn answer(
    mac: [u8; 6],
    (guest, remote): (SocketAddr, SocketAddr),
    segment: &Segment<'_>,
) -> Option<Vec<u8>> {
    if segment.rst {
        return None;
    }
    let length = segment.payload.len() as u32 + u32::from(segment.syn) + u32::from(segment.fin);
    let header = TcpHeader {
        seq: segment.ack.unwrap_or(0),
        ack: segment.seq.wrapping_add(length),
        flags: if segment.ack.is_some() {
            flag::RST
        } else {
            flag::RST | flag::ACK
        },
        window: 0,
        options: &[],
    };
    Some(frame(mac, (remote, guest), &header))
}

/// The reset of a connection that stands at these numbers.
pub(crate) fn of_connection(
    mac: [u8; 6],
    (guest, remote): (SocketAddr, SocketAddr),
    (seq, ack): (u32, u32),
) -> Vec<u8> {
    let header = TcpHeader {
        seq,
        ack,
        flags: flag::RST | flag::ACK,
        window: 0,
        options: &[],
    };
    frame(mac, (remote, guest), &header)
}
