//! The two ends of a VM's network: what the VMM is told, and what the guest is.

use super::host::{Names, has_ipv6};
use super::{
    Membership, NetworkError, NetworkMode, Networks, PortError, PortMapping, limits, policy,
};
use crate::config::VmConfig;
use crate::error::Error;
use crate::home::{Home, random};
use crate::storage::{self, Dns};
use net::{GATEWAY_V4, GATEWAY_V6, PREFIX_MEMBER, PREFIX_V4, PREFIX_V6};
use proto::control::{self, Port};
use proto::session;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// A network that a VM will get, with the ports of the host that lead to it.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// For the VMM.
    pub(crate) vmm: control::Network,
    /// The sockets of its ports, in order.
    pub(crate) sockets: Vec<OwnedFd>,
    /// For the guest.
    pub(crate) guest: session::Network,
    /// /etc/resolv.conf inside.
    pub(crate) resolv_conf: Vec<u8>,
    /// The ports as they were bound.
    pub(crate) ports: Vec<PortMapping>,
    /// The place on a network with a name, if it is one.
    pub(crate) membership: Option<Membership>,
}

impl Wiring {
    /// Takes what the configuration asks for; `None` for no network.
    pub(crate) fn new(home: &Home, config: &VmConfig) -> Result<Option<Self>, Error> {
        let membership = join(home, config)?;
        match config.network {
            NetworkMode::None if config.ports.is_empty() => return Ok(None),
            NetworkMode::None => return Err(PortError::NoNetwork.into()),
            NetworkMode::Public | NetworkMode::Full | NetworkMode::Named(_) => {}
        }
        let (mut ports, mut sockets) = (Vec::new(), Vec::new());
        for mapping in &config.ports {
            let (bound, socket) = mapping.bind()?;
            ports.push(bound);
            sockets.push(socket);
        }
        let names = Names::of_host();
        let asked = config.storage.dns.servers.iter();
        let asked: Vec<_> = asked
            .filter_map(|server| Some(SocketAddr::new(server.parse().ok()?, 53)))
            .collect();
        let servers = if asked.is_empty() {
            names.servers
        } else {
            asked
        };
        let (mac, own, v6) = addresses();
        let (v4, prefix) = match &membership {
            Some(membership) => (membership.address(), PREFIX_MEMBER),
            None => (own, PREFIX_V4),
        };
        let v6 = has_ipv6().then_some(v6);
        Ok(Some(Self {
            vmm: control::Network {
                mac,
                v4: v4.octets(),
                v6: v6.map(|address| address.octets()),
                policy: policy(config),
                limits: limits(config.network_limits),
                name_servers: servers.iter().map(ToString::to_string).collect(),
                ports: ports
                    .iter()
                    .map(|port| Port {
                        guest: port.guest,
                        udp: port.udp,
                    })
                    .collect(),
                subnet: membership.as_ref().map(|membership| control::Subnet {
                    address: membership.subnet().address.octets(),
                    prefix: membership.subnet().prefix,
                }),
            },
            guest: session::Network {
                mac,
                v4: (v4.octets(), prefix, GATEWAY_V4.octets()),
                v6: v6.map(|address| (address.octets(), PREFIX_V6, GATEWAY_V6.octets())),
            },
            resolv_conf: resolv_conf(&config.storage.dns, &names.lines, membership.as_ref()),
            sockets,
            ports,
            membership,
        }))
    }
}

/// The place on the network that is asked for by name.
fn join(home: &Home, config: &VmConfig) -> Result<Option<Membership>, NetworkError> {
    let NetworkMode::Named(name) = &config.network else {
        return match config.network_aliases.is_empty() {
            true => Ok(None),
            false => Err(NetworkError::AliasWithoutNetwork),
        };
    };
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (1..=63).contains(&name.len()) && name.bytes().all(known)
    };
    match config.network_aliases.iter().find(|name| !is_name(name)) {
        Some(name) => Err(NetworkError::Alias(name.clone())),
        None => Networks::new(home)
            .join(name, &config.network_aliases)
            .map(Some),
    }
}

/// Each VM has addresses of its own, so that two copies of one can be told apart by what they send.
fn addresses() -> ([u8; 6], Ipv4Addr, Ipv6Addr) {
    let [a, b, c, high, low] = random();
    // Neither the network nor the gateway nor everybody: 198.19.1.0 to 198.19.254.255.
    let high = 1 + high % 254;
    let mac = [0x02, 0x53, 0x6d, 0x80 | a, b, c];
    let v4 = Ipv4Addr::new(198, 19, high, low);
    let [front @ .., _, _] = GATEWAY_V6.octets();
    let mut v6 = [0; 16];
    v6[..14].copy_from_slice(&front);
    v6[14..].copy_from_slice(&[high, low]);
    (mac, v4, v6.into())
}

/// The gateway answers, whoever is asked in the end. How the host looks for short names holds where nothing else is said.
fn resolv_conf(dns: &Dns, lines: &[String], membership: Option<&Membership>) -> Vec<u8> {
    let asked = Dns {
        servers: Vec::new(),
        ..dns.clone()
    };
    let mut text = storage::resolv_conf(&asked, &[GATEWAY_V4.into()]).unwrap_or_default();
    if asked == Dns::default() {
        for line in lines {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
    }
    if membership.is_some() && asked.options.is_empty() {
        // Other members before the names of the host's domain. The last such line holds.
        text.extend_from_slice(b"options ndots:0\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_vm_is_the_gateway_or_another_one() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..50 {
            let (mac, v4, v6) = addresses();
            assert_ne!(v4, GATEWAY_V4);
            assert_ne!(mac, net::GATEWAY_MAC);
            assert_ne!(v6, GATEWAY_V6);
            assert_eq!(v4.octets()[..2], [198, 19]);
            seen.insert((mac, v4));
        }
        assert_eq!(seen.len(), 50);
    }

    #[test]
    fn without_a_network_nothing_is_published() {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        let none = VmConfig::new().network(NetworkMode::None);
        assert!(Wiring::new(&home, &none).unwrap().is_none());
        let ports = PortMapping::parse("0:80").unwrap();
        let wrong = none.publish(ports);
        assert!(matches!(
            Wiring::new(&home, &wrong),
            Err(Error::Port(PortError::NoNetwork))
        ));
    }

    #[test]
    fn a_member_has_an_address_of_the_network_and_finds_the_others_first() {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        let named = VmConfig::new().network(NetworkMode::Named("net".into()));
        assert!(matches!(
            Wiring::new(&home, &named),
            Err(Error::Network(NetworkError::NotFound(_)))
        ));
        Networks::new(&home).create("net").unwrap();
        let wiring = Wiring::new(&home, &named).unwrap().unwrap();
        assert_eq!(wiring.guest.v4, ([198, 18, 1, 1], 15, [198, 19, 0, 1]));
        assert_eq!(wiring.vmm.v4, [198, 18, 1, 1]);
        assert!(wiring.resolv_conf.ends_with(b"\noptions ndots:0\n"));
        let alias = |config: VmConfig, name: &str| {
            Wiring::new(&home, &config.network_alias([name.to_owned()]))
        };
        assert!(matches!(
            alias(named, "a b"),
            Err(Error::Network(NetworkError::Alias(_)))
        ));
        assert!(matches!(
            alias(VmConfig::new(), "db"),
            Err(Error::Network(NetworkError::AliasWithoutNetwork))
        ));
    }
}
