//! The machine's place on the network: the card has been up since before the template point, and takes addresses here.

use crate::failure::Context;
use crate::sys::ioctl::{Change, Interfaces, Ipv6Place};
use crate::sys::socket;
use proto::guest::card;
use proto::session::{Failure, FailureKind, Network};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// How long the gateway may take to answer: it is a thread of the VMM.
const PATIENCE: Duration = Duration::from_secs(1);
/// An echo request (RFC 792); the kernel writes its checksum and identifier.
const ECHO_REQUEST: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];

/// Takes a place.
pub fn join(network: &Network) -> Result<(), Failure> {
    take(network).failing(FailureKind::System, || {
        format!("give {} its addresses", card::NAME)
    })
}

/// Takes another place, in the stead of one that the machine has had.
pub fn change(old: &Network, new: &Network) -> Result<(), Failure> {
    if let (Some(place), Ok(interfaces)) = (ipv6(old), Interfaces::open()) {
        // The workload may have given it up already.
        let _ = interfaces.change_ipv6(card::NAME, place, Change::Leave);
    }
    join(new)
}

/// In a copy, before it takes another place: waits until it has heard of every connection of its old life that is no
/// more. The gateway tells that first, to the address the copy still has, and answers this afterwards.
///
/// A workload may have taken its network into its own hands, so that nothing arrives. It has to find out by itself
/// then.
pub fn hear_out(network: &Network) {
    let gateway = Ipv4Addr::from(network.v4.2);
    let _ = socket::echo(SocketAddrV4::new(gateway, 0), &ECHO_REQUEST, PATIENCE);
}

fn take(network: &Network) -> io::Result<()> {
    let interfaces = Interfaces::open()?;
    interfaces.set_mac(card::NAME, network.mac)?;
    let (address, prefix, gateway) = network.v4;
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    // The kernel forgets the address there was, and the routes by it.
    interfaces.set_address(card::NAME, address.into(), Ipv4Addr::from(mask))?;
    interfaces.add_default_route(gateway.into())?;
    match ipv6(network) {
        Some(place) => interfaces.change_ipv6(card::NAME, place, Change::Take),
        None => Ok(()),
    }
}

fn ipv6(network: &Network) -> Option<Ipv6Place> {
    let (address, prefix, gateway) = network.v6?;
    Some(Ipv6Place {
        address: address.into(),
        prefix,
        gateway: gateway.into(),
    })
}
