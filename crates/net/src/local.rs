//! Is an address one of the host's own?

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Tells the host's own addresses from others without a list of them, which would be old the moment it is made: only
/// an address of one's own can be bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnAddresses {
    /// On a host that lets everybody bind everything (`ip_nonlocal_bind`) the way to an address tells.
    anything_binds: bool,
}

impl OwnAddresses {
    pub(crate) fn new() -> Self {
        // An address for documentation: nobody's.
        let nobody = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77));
        Self {
            anything_binds: can_bind(nobody),
        }
    }

    /// Whether `address` is the host's.
    pub(crate) fn contain(self, address: IpAddr) -> bool {
        if self.anything_binds {
            is_reached_from_itself(address)
        } else {
            can_bind(address)
        }
    }
}

fn can_bind(address: IpAddr) -> bool {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .is_ok_and(|socket| bind(&socket, &SocketAddr::new(address, 0)).is_ok())
}

/// No packet is sent: connecting a datagram socket only asks for the way.
fn is_reached_from_itself(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_an_address_for_documentation_is_not() {
        let own = OwnAddresses::new();
        assert!(own.contain(Ipv4Addr::LOCALHOST.into()));
        assert!(own.contain(Ipv4Addr::new(127, 3, 2, 1).into()));
        assert!(!own.contain(Ipv4Addr::new(203, 0, 113, 78).into()));
        assert!(is_reached_from_itself(Ipv4Addr::LOCALHOST.into()));
    }
}
