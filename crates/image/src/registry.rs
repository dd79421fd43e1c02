//! The client of image registries ([OCI distribution specification](https://github.com/opencontainers/distribution-spec)).
//!
//! One [`Registry`] serves one pull: it knows the repository, the places to get it from (mirrors
//! first, the registry itself last) and the tokens of this pull. Everything it returns is named by a
//! digest, so a mirror, a proxy or a redirect can at worst refuse, never deceive.
mod blob;
mod challenge;
mod endpoint;
mod error;
mod http;
mod login;
mod manifests;
mod proxy;
mod retry;
mod roots;
mod upload;
mod url;

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub use error::RegistryError;
pub use proxy::{ProxyError, ProxySettings};
pub use retry::RetryPolicy;
pub use roots::RootsError;

pub(crate) use http::Payload;
pub(crate) use manifests::RawDocument;

use crate::cancel::Patience;
use crate::credentials::CredentialFile;
use crate::reference::RegistryRef;
use endpoint::Endpoint;
use http::Http;

/// How registries are reached. Nothing here depends on the image.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Registries (`HOST` or `HOST:PORT`) spoken to in plain HTTP. Loopback addresses need no mention:
    /// there, plain HTTP is used if the server does not speak TLS.
    pub insecure: Vec<String>,
    /// A file of further certificate authorities in PEM form.
    pub extra_ca: Option<PathBuf>,
    /// Places to try before a registry.
    pub mirrors: Vec<Mirror>,
    /// Logins.
    pub credentials: CredentialFile,
    /// Proxies.
    pub proxies: ProxySettings,
    /// The system's bundle of certificate authorities, if it is not where Debian has it.
    pub system_ca: Option<PathBuf>,
    /// When to try again, and how often.
    pub retry: RetryPolicy,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long a server may be silent before the connection counts as broken.
    pub read_timeout: Duration,
}

/// A place that holds copies of a registry's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Whose images: `docker.io`.
    pub registry: String,
    /// Where: `HOST[:PORT]`, or with `https://` or `http://` before it.
    pub location: String,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            extra_ca: None,
            mirrors: Vec::new(),
            credentials: CredentialFile::in_dir(None),
            proxies: ProxySettings::default(),
            system_ca: None,
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
        }
    }
}

impl RegistryOptions {
    /// What the environment of this process says: `HTTP_PROXY` and its kin, `DOCKER_CONFIG`, `SSL_CERT_FILE`.
    pub fn from_environment() -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let config_dir = var("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(var("HOME")?).join(".docker")));
        Self {
            credentials: CredentialFile::in_dir(config_dir.as_deref()),
            proxies: ProxySettings::from_environment(),
            system_ca: var("SSL_CERT_FILE").map(PathBuf::from),
            ..Self::default()
        }
    }
}

/// A repository of a registry, reached through its mirrors or directly.
pub(crate) struct Registry {
    http: Http,
    endpoints: Vec<Endpoint>,
    /// The first endpoint not known to be of no use.
    preferred: AtomicUsize,
    reference: RegistryRef,
    retry: RetryPolicy,
    patience: Patience,
}

impl Registry {
    /// Prepares for a pull. Nothing is sent yet.
    pub(crate) fn new(
        reference: &RegistryRef,
        options: &RegistryOptions,
        patience: &Patience,
    ) -> Result<Self, RegistryError> {
        let mut endpoints = Vec::new();
        for mirror in options
            .mirrors
            .iter()
            .filter(|mirror| mirror.registry == reference.domain())
        {
            endpoints.push(Endpoint::mirror(&mirror.location, reference, options)?);
        }
        endpoints.push(Endpoint::upstream(reference, options)?);
        Ok(Self {
            http: Http::new(options, patience),
            endpoints,
            preferred: AtomicUsize::new(0),
            reference: reference.clone(),
            retry: options.retry.clone(),
            patience: patience.clone(),
        })
    }
}
