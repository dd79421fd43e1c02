//! Which requests go through a proxy: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
use std::net::IpAddr;

use super::url::Origin;

/// The proxies of this process, in the words of the environment variables.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For plain HTTP.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// Hosts, domains, addresses and networks reached directly, separated by commas.
    pub exceptions: String,
}

/// A proxy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The setting is not a URL.
    #[error("the proxy setting for {what} is not a URL such as http://HOST:PORT")]
    Url {
        /// HTTP or HTTPS.
        what: &'static str,
    },
    /// SOCKS and the like.
    #[error(
        "the proxy for {what} is of type {scheme:?}; only http and https proxies are supported"
    )]
    Scheme {
        /// HTTP or HTTPS.
        what: &'static str,
        /// The scheme of its URL.
        scheme: String,
    },
}

impl std::fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URLs may hold passwords.
        f.debug_struct("ProxySettings")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

impl ProxySettings {
    /// Reads the environment variables, in either case; uppercase wins.
    pub fn from_environment() -> Self {
        let var = |name: &str| {
            [name.to_ascii_uppercase(), name.to_ascii_lowercase()]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        Self {
            http: var("http_proxy").or_else(|| var("all_proxy")),
            https: var("https_proxy").or_else(|| var("all_proxy")),
            exceptions: var("no_proxy").unwrap_or_default(),
        }
    }

    /// Whether a proxy stands between us and this origin. This machine is never reached by one.
    pub(super) fn apply_to(&self, origin: &Origin) -> bool {
        let setting = if origin.is_tls {
            &self.https
        } else {
            &self.http
        };
        let (host, port) = origin.host_and_port();
        setting.is_some()
            && !origin.is_loopback()
            && !self
                .exceptions
                .split([',', ' '])
                .any(|entry| is_excepted(entry.trim(), host, port))
    }

    /// The proxy for HTTPS or for plain HTTP.
    pub(super) fn proxy(&self, is_tls: bool) -> Result<Option<ureq::Proxy>, ProxyError> {
        let (what, setting) = if is_tls {
            ("HTTPS", &self.https)
        } else {
            ("HTTP", &self.http)
        };
        let Some(setting) = setting else {
            return Ok(None);
        };
        if let Some((scheme, _)) = setting.split_once("://")
            && !matches!(scheme, "http" | "https")
        {
            return Err(ProxyError::Scheme {
                what,
                scheme: scheme.to_owned(),
            });
        }
        // ureq's error has nothing to add, and could show a password.
        ureq::Proxy::new(setting)
            .map(Some)
            .map_err(|_| ProxyError::Url { what })
    }
}

/// `*`, an address, a network in CIDR form, or a domain (which includes what is below it;
/// with a dot or `*.` before it, only that). A port limits the entry to it.
fn is_excepted(entry: &str, host: &str, port: u16) -> bool {
    if entry.is_empty() {
        return false;
    }
    if entry == "*" {
        return true;
    }
    if let (Some(network), Ok(address)) = (parse_network(entry), host.parse::<IpAddr>()) {
        return network.contains(address);
    }
    let (pattern, only_port) = match super::url::split_port(entry) {
        (pattern, Some(only_port)) => (pattern, Some(only_port)),
        (_, None) => (entry, None),
    };
    if only_port.is_some_and(|only_port| only_port != port) {
        return false;
    }
    let pattern = super::url::bare_host(pattern).to_ascii_lowercase();
    let pattern = pattern.strip_prefix('*').unwrap_or(&pattern);
    match pattern.strip_prefix('.') {
        Some(domain) => is_below(host, domain),
        None => host == pattern || is_below(host, pattern),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
}

struct Network {
    address: IpAddr,
    prefix: u32,
}

fn parse_network(entry: &str) -> Option<Network> {
    let (address, prefix) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok()?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some(Network { address, prefix })
}

impl Network {
    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits())
                    .checked_shr(32 - self.prefix)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits())
                    .checked_shr(128 - self.prefix)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(exceptions: &str) -> ProxySettings {
        let proxy = Some("http://proxy.example:3128".to_owned());
        ProxySettings {
            http: proxy.clone(),
            https: proxy,
            exceptions: exceptions.to_owned(),
        }
    }

    fn is_proxied(exceptions: &str, url: &str) -> bool {
        settings(exceptions).apply_to(&Origin::of(&url.parse().unwrap()).unwrap())
    }

    #[test]
    fn exceptions_name_hosts_domains_networks_and_ports() {
        for (exceptions, url) in [
            ("*", "https://r.example"),
            ("r.example", "https://r.example"),
            ("other, r.example", "https://R.Example"),
            ("example", "https://r.example"),
            (".example", "https://a.b.example"),
            ("*.example", "https://a.example"),
            ("r.example:8443", "https://r.example:8443"),
            ("10.0.0.0/8", "https://10.1.2.3"),
            ("10.1.2.3", "https://10.1.2.3:5000"),
            ("10.1.2.3:5000", "https://10.1.2.3:5000"),
            ("0.0.0.0/0", "https://10.1.2.3"),
            ("fd00::/8", "https://[fd12::1]:5000"),
            ("[fd12::1]", "https://[fd12::1]:5000"),
            ("", "https://localhost:5000"),
            ("", "https://127.0.0.1:5000"),
            ("", "http://[::1]"),
        ] {
            assert!(!is_proxied(exceptions, url), "{exceptions} {url}");
        }
    }

    #[test]
    fn everything_else_goes_through_the_proxy() {
        for (exceptions, url) in [
            ("", "https://r.example"),
            ("example.r", "https://r.example"),
            (".r.example", "https://r.example"),
            ("r.example", "https://bar.example"),
            ("ample", "https://r.example"),
            ("r.example:8443", "https://r.example"),
            ("10.0.0.0/8", "https://11.1.2.3"),
            ("10.0.0.0/33", "https://10.1.2.3"),
            ("10.0.0.0/8", "https://ten.example"),
        ] {
            assert!(is_proxied(exceptions, url), "{exceptions} {url}");
        }
        assert!(
            !ProxySettings::default()
                .apply_to(&Origin::of(&"https://r.example".parse().unwrap()).unwrap())
        );
    }

    #[test]
    fn proxies_that_cannot_be_used_are_named_without_their_password() {
        let mut settings = settings("");
        settings.https = Some("socks5://user:hunter2@proxy:1080".to_owned());
        let error = settings.proxy(true).unwrap_err();
        assert!(matches!(&error, ProxyError::Scheme { scheme, .. } if scheme == "socks5"));
        settings.https = Some("http://user:hunter2@pro xy".to_owned());
        let error = settings.proxy(true).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
