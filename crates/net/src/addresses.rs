//! Who is who on the link.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The gateway's address on every VM's link: from the block for benchmarks (RFC 2544), which no real network uses.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
/// Length of the link's prefix.
pub const PREFIX_V4: u8 = 16;
/// Length of the prefix of a link whose guest is a member of a network: the other half of the block is for those.
pub const PREFIX_MEMBER: u8 = 15;
/// The same for IPv6, from the unique local addresses (RFC 4193).
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd53, 0x6d76, 0, 0, 0, 0, 0, 1);
/// Length of the link's IPv6 prefix.
pub const PREFIX_V6: u8 = 64;
/// The gateway's hardware address, locally administered.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x53, 0x6d, 0, 0, 1];
/// The largest packet on the link. It never leaves the host's memory, so it may be as large as the headers can say,
/// less some room; the host's kernel cuts what it sends on.
pub const MTU: u16 = 65_520;

/// What the guest is known by on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Hardware address.
    pub mac: [u8; 6],
    /// IPv4 address.
    pub v4: Ipv4Addr,
    /// IPv6 address, if the guest has a way into the IPv6 world.
    pub v6: Option<Ipv6Addr>,
}

/// The addresses of a network of several guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The lowest one.
    pub address: Ipv4Addr,
    /// How many bits they have in common.
    pub prefix: u8,
}

impl Subnet {
    /// Whether it is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix.min(32)))
            .unwrap_or(0);
        (address.to_bits() ^ self.address.to_bits()) & mask == 0
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

impl Addresses {
    /// Whether the guest may send from `address`.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4 == self.v4,
            IpAddr::V6(v6) => Some(v6) == self.v6,
        }
    }

    /// The guest's address in the world of `other`.
    pub(crate) fn like(&self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => Some(self.v4.into()),
            IpAddr::V6(_) => self.v6.map(IpAddr::from),
        }
    }
}

/// The gateway in the world of `address`.
pub(crate) const fn gateway_like(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(GATEWAY_V4),
        IpAddr::V6(_) => IpAddr::V6(GATEWAY_V6),
    }
}

/// Whether this is the gateway.
pub(crate) fn is_gateway(address: IpAddr) -> bool {
    address == gateway_like(address)
}
