//! One place that serves a repository: the registry itself or a mirror.
use std::sync::OnceLock;

use ureq::http::{Method, Uri};

use super::http::{Http, Outgoing};
use super::login::Login;
use super::retry::RetryPolicy;
use super::url::{is_loopback, split_port};
use super::{RegistryError, RegistryOptions};
use crate::reference::RegistryRef;

/// Docker Hub's name and the server behind it differ.
const HUB_DOMAIN: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";

pub(super) struct Endpoint {
    /// As users call it.
    pub(super) name: String,
    pub(super) login: Login,
    pub(super) retry: RetryPolicy,
    authority: String,
    repository: String,
    transport: Transport,
}

enum Transport {
    Tls,
    Plain,
    /// On this machine: whatever the server speaks, found out once.
    Either(OnceLock<&'static str>),
}

impl Endpoint {
    /// The registry of a reference.
    pub(super) fn upstream(
        reference: &RegistryRef,
        options: &RegistryOptions,
    ) -> Result<Self, RegistryError> {
        let domain = reference.domain();
        let authority = if domain == HUB_DOMAIN {
            HUB_SERVER
        } else {
            domain
        };
        let transport = Transport::of(authority, domain, options);
        Self::new(
            domain,
            authority,
            transport,
            reference,
            options,
            options.retry.clone(),
        )
    }

    /// A mirror. It is asked less patiently, because there is somewhere else to go.
    pub(super) fn mirror(
        location: &str,
        reference: &RegistryRef,
        options: &RegistryOptions,
    ) -> Result<Self, RegistryError> {
        let (scheme, authority) = match location.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, location),
        };
        let authority = authority.trim_end_matches('/');
        let transport = match scheme {
            Some("https") => Transport::Tls,
            Some("http") => Transport::Plain,
            None => Transport::of(authority, authority, options),
            Some(_) => {
                return Err(RegistryError::Location {
                    location: location.to_owned(),
                });
            }
        };
        let retry = RetryPolicy {
            attempts: options.retry.attempts.min(2),
            ..options.retry.clone()
        };
        Self::new(authority, authority, transport, reference, options, retry)
    }

    fn new(
        name: &str,
        authority: &str,
        transport: Transport,
        reference: &RegistryRef,
        options: &RegistryOptions,
        retry: RetryPolicy,
    ) -> Result<Self, RegistryError> {
        let endpoint = Self {
            name: name.to_owned(),
            login: Login::new(name, reference.repository(), &options.credentials),
            retry,
            authority: authority.to_owned(),
            repository: reference.repository().to_owned(),
            transport,
        };
        let has_host_only = !authority.is_empty() && !authority.contains(['/', '@', '?', '#']);
        if has_host_only && endpoint.url("https", "").is_ok() {
            Ok(endpoint)
        } else {
            Err(RegistryError::Location {
                location: name.to_owned(),
            })
        }
    }

    /// A URL below the repository: `manifests/latest`.
    pub(super) fn repository_url(&self, http: &Http, rest: &str) -> Result<Uri, RegistryError> {
        let path = format!("{}/{rest}", self.repository);
        self.url(self.scheme(http)?, &path)
    }

    fn url(&self, scheme: &str, path: &str) -> Result<Uri, RegistryError> {
        let text = format!("{scheme}://{}/v2/{path}", self.authority);
        text.parse().map_err(|_| RegistryError::Location {
            location: self.name.clone(),
        })
    }

    fn scheme(&self, http: &Http) -> Result<&'static str, RegistryError> {
        let found = match &self.transport {
            Transport::Tls => return Ok("https"),
            Transport::Plain => return Ok("http"),
            Transport::Either(found) => found,
        };
        if let Some(scheme) = found.get() {
            return Ok(scheme);
        }
        // A TLS greeting is the one question both kinds of server answer clearly.
        let probe = Outgoing::new(Method::GET, self.url("https", "")?);
        let scheme = match http.exchange(&probe) {
            Err(error) if error.is_not_tls() => "http",
            Err(error) => return Err(error),
            Ok(_) => "https",
        };
        Ok(found.get_or_init(|| scheme))
    }
}

impl Transport {
    fn of(authority: &str, name: &str, options: &RegistryOptions) -> Self {
        let (host, port) = split_port(authority);
        let is_insecure = options
            .insecure
            .iter()
            .any(|entry| entry == name || entry == host);
        match (is_insecure, is_loopback(host), port) {
            (true, _, _) => Self::Plain,
            (false, true, Some(443)) => Self::Tls,
            (false, true, _) => Self::Either(OnceLock::new()),
            (false, false, _) => Self::Tls,
        }
    }
}
