//! Loopback, and an interface that is not loopback: glibc's resolver drops every IPv4 answer
//! (AI_ADDRCONFIG) as long as no such interface has an IPv4 address.

use crate::sys::ioctl::Interfaces;
use proto::guest::card;
use std::io;
use std::net::Ipv4Addr;

/// From the block for benchmarks (RFC 2544), which no real network uses.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);
/// The kernel's dummy driver makes this one by itself.
const DUMMY: &str = "dummy0";

/// Brings both up.
pub fn bring_up() -> io::Result<()> {
    let interfaces = Interfaces::open()?;
    interfaces.up("lo")?;
    interfaces.set_address(DUMMY, ADDRESS, MASK)?;
    interfaces.up(DUMMY)?;
    bring_card_up(&interfaces)
}

/// The card comes up without an address: its driver fills the queue here, in the template, and not at every start.
/// A machine without a card is one without a network, until somebody asks for an address on it.
fn bring_card_up(interfaces: &Interfaces) -> io::Result<()> {
    match interfaces.set_mtu(card::NAME, card::MTU) {
        Err(missing) if missing.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        result => result.and_then(|()| interfaces.up(card::NAME)),
    }
}
