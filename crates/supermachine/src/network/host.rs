//! What the host knows about names and ways.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The port of name servers.
const PORT: u16 = 53;

/// The host's way to resolve names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Who is asked, in order.
    pub(super) servers: Vec<SocketAddr>,
    /// Lines that hold for the guest too: where short names are looked for, and how.
    pub(super) lines: Vec<String>,
}

impl Names {
    /// What /etc/resolv.conf says. Without a file or a server in it, resolvers ask the host itself.
    pub(super) fn of_host() -> Self {
        Self::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for line in text.lines() {
            let line = line.trim();
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) => {
                    // One with a scope is on a link, which the address alone does not name.
                    if let Ok(address) = address.parse::<IpAddr>() {
                        names.servers.push(SocketAddr::new(address, PORT));
                    }
                }
                (Some("search" | "domain" | "options"), Some(_)) => {
                    names.lines.push(line.to_owned());
                }
                _ => {}
            }
        }
        if names.servers.is_empty() {
            names.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        names
    }
}

/// Whether the host has a way into the IPv6 world: a route, and an address that is known there. Connecting a datagram
/// socket asks for both and sends nothing.
pub(super) fn has_ipv6() -> bool {
    let somewhere = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);
    let from = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((somewhere, PORT))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| is_known(from.ip()))
}

/// With an address of a local network answers from outside come back to nobody, and every name would be tried in vain
/// first.
fn is_known(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] >> 13 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_with_a_global_address_is_there_an_ipv6_world() {
        for (text, known) in [("2a00::1", true), ("fd00::1", false), ("fe80::1", false)] {
            assert_eq!(is_known(text.parse().unwrap()), known, "{text}");
        }
    }

    #[test]
    fn the_hosts_servers_are_asked_and_its_search_list_holds_inside() {
        let names = Names::parse(
            "# comment\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n nameserver 2001:db8::1\n\
             search corp.example example.com\noptions edns0 ndots:2\nsortlist 1.2.3.4\nnameserver nonsense\n",
        );
        let servers: Vec<_> = names.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.53:53", "[2001:db8::1]:53"]);
        assert_eq!(
            names.lines,
            ["search corp.example example.com", "options edns0 ndots:2"]
        );
        assert_eq!(
            Names::parse("").servers,
            [(Ipv4Addr::LOCALHOST, PORT).into()]
        );
    }
}
