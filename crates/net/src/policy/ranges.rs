//! What an address is for (the registries of RFC 6890, with what carries an IPv4 address inside looked into).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somewhere in the Internet.
    Public,
    /// The host itself.
    Host,
    /// This very machine, whatever machine that is.
    Loopback,
    /// A private network, or one shared with a provider.
    Private,
    /// The same link, where clouds keep their metadata.
    LinkLocal,
    /// Many at once.
    Multicast,
    /// Nowhere, or for another purpose.
    Reserved,
}

/// The IPv4 address that an IPv6 one leads to: mapped and translated forms (RFC 4291, 6052), 6to4 (RFC 3056).
pub(crate) fn v4_inside(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

impl Class {
    /// Looks at an address; `own` says that it is one of the host's.
    pub fn of(address: IpAddr, own: bool) -> Self {
        let class = match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        };
        match class {
            Self::Public | Self::Private if own => Self::Host,
            class => class,
        }
    }

    /// For messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Host => "the host's own",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        match (a, b, c) {
            (127, ..) => Self::Loopback,
            (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Self::Private,
            (169, 254, _) => Self::LinkLocal,
            (224..=239, ..) => Self::Multicast,
            (0 | 240..=255, ..)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113) => Self::Reserved,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if let Some(inner) = v4_inside(address.into()) {
            return Self::of_v4(inner);
        }
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // Teredo hides addresses inside, and the rest are for protocols, benchmarks, documentation.
            [0x2001, 0x0000..=0x01ff | 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => {
                Self::Reserved
            }
            [0x2000..=0x3fff, ..] => Self::Public,
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Self::Private,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            _ => Self::Reserved,
        }
    }
}
