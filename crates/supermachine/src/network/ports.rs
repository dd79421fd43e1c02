//! Published ports: `[IP:]HOST:GUEST[/udp]`.

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Ports one mapping may have.
const MAX_RANGE: u16 = 1024;
/// Clients that may wait to be taken.
const BACKLOG: i32 = 1024;

/// A port of the host that leads to a port of the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Where the host listens; port 0 is one that the host picks.
    pub host: SocketAddr,
    /// The port inside.
    pub guest: u16,
    /// Datagrams instead of connections.
    #[serde(default)]
    pub udp: bool,
}

/// Why a text is no mapping, or cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// It is not written as one.
    #[error(
        "{0:?} is no port mapping: [IP:]HOST:GUEST[/udp], like 8080:80 or 127.0.0.1:8000-8009:8000-8009"
    )]
    Syntax(String),
    /// The ranges do not fit each other.
    #[error("{0:?}: both ranges must have as many ports, 1024 at most")]
    Range(String),
    /// The host's port cannot be bound.
    #[error("cannot publish port {mapping}")]
    Bind {
        /// Which.
        mapping: PortMapping,
        /// Why.
        source: io::Error,
    },
    /// There is no network to publish it on.
    #[error("a VM without a network cannot publish ports")]
    NoNetwork,
}

impl PortMapping {
    /// Reads one mapping, or as many as its ranges have ports. Without an address the host listens on 127.0.0.1.
    pub fn parse(text: &str) -> Result<Vec<Self>, PortError> {
        let syntax = || PortError::Syntax(text.to_owned());
        let (rest, udp) = match text.rsplit_once('/') {
            Some((rest, "udp")) => (rest, true),
            Some((rest, "tcp")) => (rest, false),
            Some(_) => return Err(syntax()),
            None => (text, false),
        };
        let (front, guest) = rest.rsplit_once(':').unwrap_or(("0", rest));
        let (address, host) = match front.rsplit_once(':') {
            Some((address, host)) => (parse_address(address).ok_or_else(syntax)?, host),
            None => (Ipv4Addr::LOCALHOST.into(), front),
        };
        let (guest_first, guest_last) = parse_range(guest).ok_or_else(syntax)?;
        // `127.0.0.1::80`: any port of this address.
        let host = if host.is_empty() { "0" } else { host };
        let (host_first, host_last) = parse_range(host).ok_or_else(syntax)?;
        let count = guest_last - guest_first;
        if guest_first == 0 {
            return Err(syntax());
        }
        let any = (host_first, host_last) == (0, 0);
        if count >= MAX_RANGE || (!any && (host_first == 0 || host_last - host_first != count)) {
            return Err(PortError::Range(text.to_owned()));
        }
        let mapping = |offset| Self {
            host: SocketAddr::new(address, if any { 0 } else { host_first + offset }),
            guest: guest_first + offset,
            udp,
        };
        Ok((0..=count).map(mapping).collect())
    }

    /// Binds the host's port. Returns the mapping with the port that it became.
    pub(super) fn bind(self) -> Result<(Self, OwnedFd), PortError> {
        let bound = || -> io::Result<(SocketAddr, OwnedFd)> {
            let family = match self.host {
                SocketAddr::V4(_) => AddressFamily::INET,
                SocketAddr::V6(_) => AddressFamily::INET6,
            };
            let kind = if self.udp {
                SocketType::DGRAM
            } else {
                SocketType::STREAM
            };
            let socket = socket_with(
                family,
                kind,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                None,
            )?;
            if !self.udp {
                // As every server does: connections of an earlier life are no reason to wait.
                sockopt::set_socket_reuseaddr(&socket, true)?;
            }
            bind(&socket, &self.host)?;
            if !self.udp {
                listen(&socket, BACKLOG)?;
            }
            let address = SocketAddr::try_from(getsockname(&socket)?)?;
            Ok((address, socket))
        };
        let (host, socket) = bound().map_err(|source| PortError::Bind {
            mapping: self,
            source,
        })?;
        Ok((Self { host, ..self }, socket))
    }

    /// `tcp` or `udp`.
    pub const fn protocol(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse().ok().filter(IpAddr::is_ipv6),
        None => text.parse().ok().filter(IpAddr::is_ipv4),
    }
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

/// As `ps` shows it.
impl fmt::Display for PortMapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}->{}/{}", self.host, self.guest, self.protocol())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match PortMapping::parse(text) {
            Ok(mappings) => mappings
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn mappings_are_read_as_docker_reads_them_but_listen_on_loopback() {
        for (text, expected) in [
            ("8080:80", "127.0.0.1:8080->80/tcp"),
            ("80", "127.0.0.1:0->80/tcp"),
            ("0:53/udp", "127.0.0.1:0->53/udp"),
            ("0.0.0.0:8080:80/tcp", "0.0.0.0:8080->80/tcp"),
            ("127.0.0.2::80", "127.0.0.2:0->80/tcp"),
            ("[::1]:8080:80", "[::1]:8080->80/tcp"),
            (
                "7000-7001:80-81",
                "127.0.0.1:7000->80/tcp 127.0.0.1:7001->81/tcp",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in [
            "",
            "x",
            "80:",
            ":80:80:80",
            "80:0",
            "1:2/sctp",
            "::1:80:80",
            "70000:80",
            "+1:80",
            "9-8:9-8",
            "h:1:2",
        ] {
            assert!(
                matches!(PortMapping::parse(text), Err(PortError::Syntax(_))),
                "{text}"
            );
        }
        for text in ["1-3:1-2", "1-2000:1-2000", "0-1:1-2", "1:1-2"] {
            assert!(
                matches!(PortMapping::parse(text), Err(PortError::Range(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let any = PortMapping::parse("0:80").unwrap()[0];
        let (bound, _socket) = any.bind().unwrap();
        assert_ne!(bound.host.port(), 0);
        let error = bound.bind().unwrap_err();
        assert_eq!(error.to_string(), format!("cannot publish port {bound}"));
    }
}
