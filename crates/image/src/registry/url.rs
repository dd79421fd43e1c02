//! URLs of registries: joining, comparing and showing them.
use std::net::IpAddr;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// Scheme, host and port: what credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// `None` for anything but absolute `http` and `https` URLs.
    pub(super) fn of(url: &Uri) -> Option<Self> {
        let is_tls = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let host = bare_host(url.host()?).to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { is_tls, host, port })
    }

    /// Whether only this machine is reached.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Host and port, as proxies' exceptions are written.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// `localhost` and the loopback addresses.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = bare_host(host);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An IPv6 address without its brackets.
pub(super) fn bare_host(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// The host of `HOST[:PORT]`, and the port.
pub(super) fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok())
        }
        _ => (authority, None),
    }
}

/// Resolves the target of a redirect (RFC 3986 section 5, for `http` and `https`).
pub(super) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next()?.trim();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let has_scheme = location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    });
    let target = if has_scheme {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let (directory, _) = base.path().rsplit_once('/')?;
        format!("{scheme}://{authority}{directory}/{location}")
    };
    let target: Uri = target.parse().ok()?;
    Origin::of(&target)?;
    Some(target)
}

/// A URL for messages: without a query, which holds the signature of a pre-signed URL, and
/// without a user.
pub(super) fn shown(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let port = url
        .port_u16()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!(
        "{}://{host}{port}{}",
        url.scheme_str().unwrap_or_default(),
        url.path()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_are_resolved_against_their_page() {
        let base = uri("https://r.example:8443/v2/a/blobs/x?y=1");
        for (location, target) in [
            (
                "https://cdn.example/b?sig=1#f",
                "https://cdn.example/b?sig=1",
            ),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("/c/d", "https://r.example:8443/c/d"),
            ("d", "https://r.example:8443/v2/a/blobs/d"),
            ("?z=2", "https://r.example:8443/v2/a/blobs/?z=2"),
        ] {
            assert_eq!(join(&base, location).unwrap(), uri(target), "{location}");
        }
        for location in [
            "ftp://x/y",
            "file:///etc/passwd",
            "javascript:1",
            "https://",
        ] {
            assert!(join(&base, location).is_none(), "{location}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text| Origin::of(&uri(text)).unwrap();
        assert_eq!(
            origin("https://R.example/a"),
            origin("https://r.example:443/b")
        );
        assert_ne!(origin("https://r.example"), origin("http://r.example"));
        assert_ne!(origin("https://r.example"), origin("https://r.example:444"));
        assert_ne!(
            origin("https://r.example"),
            origin("https://r.example.evil")
        );
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example",
            "128.0.0.1",
            "127.0.0.1.example",
            "[::2]",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        assert_eq!(
            shown(&uri("https://user:pw@h.example:1/p?sig=secret")),
            "https://h.example:1/p"
        );
    }
}
