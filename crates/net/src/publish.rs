//! Ports of the host that lead to ports of the guest.

use crate::addresses::{Addresses, gateway_like};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

/// A port of the host's that somebody bound, and the guest's port behind it.
#[derive(Debug)]
pub enum Published {
    /// TCP.
    Tcp(TcpListener, u16),
    /// UDP.
    Udp(Arc<UdpSocket>, u16),
}

/// The client as the guest sees it: under its own address where that can be, else as the gateway. A client on the
/// host comes from an address that means somebody else inside the guest.
pub(crate) fn seen_by_guest(client: SocketAddr, own: bool, guest: &Addresses) -> SocketAddr {
    let bare = match client.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    };
    let hidden = own || bare.is_loopback() || bare.is_unspecified() || guest.like(bare).is_none();
    let address = match hidden {
        true => gateway_like(guest.v4.into()),
        false => bare,
    };
    SocketAddr::new(address, client.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GATEWAY_MAC, GATEWAY_V4};

    #[test]
    fn a_client_is_seen_under_its_own_address_if_that_means_the_same_inside() {
        let guest = Addresses {
            mac: GATEWAY_MAC,
            v4: [198, 19, 1, 2].into(),
            v6: None,
        };
        let seen = |text: &str, own| seen_by_guest(text.parse().unwrap(), own, &guest).to_string();
        assert_eq!(seen("10.1.2.3:55", false), "10.1.2.3:55");
        assert_eq!(seen("[::ffff:10.1.2.3]:55", false), "10.1.2.3:55");
        let gateway = format!("{GATEWAY_V4}:55");
        for (client, own) in [
            ("10.1.2.3:55", true),
            ("127.0.0.1:55", false),
            ("[2a00::1]:55", false),
        ] {
            assert_eq!(seen(client, own), gateway);
        }
    }
}
