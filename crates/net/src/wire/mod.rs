//! Packets: what the guest's frames say, and the headers of those for it.
//!
//! Reading is smoltcp's, which checks every length before it is believed. Headers for the guest are few and simple.

mod build;
mod message;
mod parse;
mod passing;
#[cfg(test)]
mod tests;

pub(crate) use build::{Checksum, Headers, TcpHeader};
pub(crate) use message::{Unreachable, arp_reply, echo_reply, neighbor_advertisement, unreachable};
pub(crate) use parse::{Packet, Segment, parse, sender};
pub(crate) use passing::Passing;

/// Flags of a TCP segment.
pub(crate) mod flag {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const PSH: u8 = 8;
    pub(crate) const ACK: u8 = 16;
}

pub(crate) const ETHERNET: usize = 14;
pub(crate) const IPV4: usize = 20;
pub(crate) const IPV6: usize = 40;
pub(crate) const TCP: usize = 20;
