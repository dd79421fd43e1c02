//! One rule: `allow:` or `deny:`, a network or a name, ports, a protocol.

use super::{Protocol, v4_inside};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Lets it pass.
    Allow,
    /// Refuses it.
    Deny,
}

/// A line of a policy: `allow:1.2.3.0/24:443/tcp`, `deny:*.example.com`, `deny:*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    /// What to do.
    pub action: Action,
    target: Target,
    ports: Vec<(u16, u16)>,
    protocol: Option<Protocol>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Anything,
    Network(IpAddr, u8),
    /// In lower case, without the last dot; `*.` in front stands for any number of labels.
    Name(String),
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It starts with neither word.
    #[error("a rule starts with allow: or deny:")]
    Action,
    /// What it is about is nothing we know.
    #[error("{0} is no network, address or domain")]
    Target(String),
    /// The prefix is longer than the address, or the address has bits behind it.
    #[error("{0} is no network: the prefix does not fit the address")]
    Prefix(String),
    /// The ports are none.
    #[error("{0} are no ports: 80, 80,443 or 8000-8099")]
    Ports(String),
    /// The protocol is neither.
    #[error("{0} is neither tcp nor udp")]
    Protocol(String),
}

impl Rule {
    pub(super) fn is_by_name(&self) -> bool {
        matches!(self.target, Target::Name(_))
    }

    pub(super) fn matches(&self, protocol: Protocol, to: SocketAddr, names: &[&str]) -> bool {
        let right_protocol = self.protocol.is_none_or(|only| only == protocol);
        let right_port = self.ports.is_empty()
            || self
                .ports
                .iter()
                .any(|&(first, last)| (first..=last).contains(&to.port()));
        right_protocol
            && right_port
            && match &self.target {
                Target::Anything => true,
                Target::Network(network, prefix) => {
                    // What is closed is closed by every name it has.
                    let inside = v4_inside(to.ip()).filter(|_| self.action == Action::Deny);
                    let inside = inside.map(IpAddr::V4);
                    contains(*network, *prefix, to.ip())
                        || inside.is_some_and(|inside| contains(*network, *prefix, inside))
                }
                Target::Name(pattern) => names.iter().any(|name| is_named(pattern, name)),
            }
    }
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let ((network, width), (address, other)) = (bits(network), bits(address));
    width == other
        && (network ^ address)
            .checked_shr((width - prefix).into())
            .unwrap_or(0)
            == 0
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name
            .strip_suffix(parent)
            .is_some_and(|front| front.ends_with('.')),
        None => pattern == name,
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (action, rest) = match text.split_once(':') {
            Some(("allow", rest)) => (Action::Allow, rest),
            Some(("deny", rest)) => (Action::Deny, rest),
            _ => return Err(RuleError::Action),
        };
        let (rest, protocol) = split_protocol(rest)?;
        let (target, ports) = split_ports(rest);
        Ok(Self {
            action,
            target: parse_target(target)?,
            ports: ports.map(parse_ports).transpose()?.unwrap_or_default(),
            protocol,
        })
    }
}

/// A prefix follows a slash too, but is made of digits.
fn split_protocol(text: &str) -> Result<(&str, Option<Protocol>), RuleError> {
    match text.rsplit_once('/') {
        Some((rest, "tcp")) => Ok((rest, Some(Protocol::Tcp))),
        Some((rest, "udp")) => Ok((rest, Some(Protocol::Udp))),
        Some((_, word)) if word.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            Err(RuleError::Protocol(word.to_owned()))
        }
        _ => Ok((text, None)),
    }
}

/// IPv6 addresses with ports are in brackets; without them every colon is the address's.
fn split_ports(text: &str) -> (&str, Option<&str>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((address, after)) = rest.split_once(']')
    {
        return match after.split_once(':') {
            Some(("", ports)) => (address, Some(ports)),
            Some((prefix, ports)) => (&text[..=address.len() + 1 + prefix.len()], Some(ports)),
            None if after.is_empty() => (address, None),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((target, ports)) if !ports.contains(':') => (target, Some(ports)),
        _ => (text, None),
    }
}

fn parse_target(text: &str) -> Result<Target, RuleError> {
    if text == "*" {
        return Ok(Target::Anything);
    }
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = address.trim_start_matches('[').trim_end_matches(']');
    match (address.parse::<IpAddr>(), prefix) {
        (Ok(address), None) => Ok(Target::Network(address, bits(address).1)),
        (Ok(address), Some(prefix)) => parse_prefix(address, prefix)
            .map(|prefix| Target::Network(address, prefix))
            .ok_or_else(|| RuleError::Prefix(text.to_owned())),
        (Err(_), None) => parse_name(text).ok_or_else(|| RuleError::Target(text.to_owned())),
        (Err(_), Some(_)) => Err(RuleError::Target(text.to_owned())),
    }
}

/// Bits behind the prefix would be a rule about less than it seems, or about more.
fn parse_prefix(address: IpAddr, prefix: &str) -> Option<u8> {
    let prefix: u8 = prefix.parse().ok()?;
    let (value, width) = bits(address);
    let rest = width.checked_sub(prefix)?;
    let mask = 1_u128
        .checked_shl(rest.into())
        .map_or(u128::MAX, |bit| bit - 1);
    (value & mask == 0).then_some(prefix)
}

fn parse_name(text: &str) -> Option<Target> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let bare = name.strip_prefix("*.").unwrap_or(&name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    // A last label of digits is an address gone wrong.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let labels: Vec<&str> = bare.split('.').collect();
    let good = bare.len() <= 253
        && labels.iter().all(|label| is_label(label))
        && !labels.last().is_some_and(|last| is_number(last));
    good.then_some(Target::Name(name))
}

fn parse_ports(text: &str) -> Result<Vec<(u16, u16)>, RuleError> {
    let refuse = || RuleError::Ports(text.to_owned());
    let port = |word: &str| word.parse::<u16>().ok().filter(|port| *port != 0);
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (port(first), port(last)) {
                (Some(first), Some(last)) if first <= last => Ok((first, last)),
                _ => Err(refuse()),
            }
        })
        .collect()
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.action {
            Action::Allow => "allow:",
            Action::Deny => "deny:",
        })?;
        match &self.target {
            Target::Anything => out.write_str("*")?,
            Target::Network(address @ IpAddr::V6(_), prefix) if !self.ports.is_empty() => {
                write!(out, "[{address}]/{prefix}")?;
            }
            Target::Network(address, prefix) => write!(out, "{address}/{prefix}")?,
            Target::Name(name) => out.write_str(name)?,
        }
        for (index, (first, last)) in self.ports.iter().enumerate() {
            out.write_str(if index == 0 { ":" } else { "," })?;
            match first == last {
                true => write!(out, "{first}")?,
                false => write!(out, "{first}-{last}")?,
            }
        }
        match self.protocol {
            Some(protocol) => write!(out, "/{}", protocol.name()),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}
