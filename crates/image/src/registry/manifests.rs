//! Fetching what fits in memory: manifests, indexes, image configs.
use std::io::Read;
use std::sync::atomic::Ordering;

use ureq::http::{Method, StatusCode, header};

use super::endpoint::Endpoint;
use super::http::{Answer, Outgoing, unexpected};
use super::login::Ticket;
use super::retry::RetryPolicy;
use super::url::shown;
use super::{Registry, RegistryError, error};
use crate::digest::Digest;
use crate::manifest::{Descriptor, MANIFEST_LIMIT};

/// Everything we understand, and schema 1, so that its refusal names the reason.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1";
const CONTENT_DIGEST: &str = "docker-content-digest";
/// One for the first question, one for a token that ended or was for something else.
const LOGIN_ATTEMPTS: u32 = 2;

/// A document as a registry gave it.
#[derive(Debug)]
pub(crate) struct RawDocument {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: Option<String>,
}

impl Registry {
    /// The digest behind the reference, without its document, if the registry tells.
    pub(crate) fn digest(&self) -> Result<Option<Digest>, RegistryError> {
        if let Some(digest) = self.reference.digest() {
            return Ok(Some(*digest));
        }
        let path = format!("manifests/{}", self.reference.wanted());
        self.at_any(|endpoint| {
            let mut request =
                Outgoing::new(Method::HEAD, endpoint.repository_url(&self.http, &path)?);
            request.accept = Some(ACCEPT);
            let answer = self.call(endpoint, &mut request)?;
            match answer.status() {
                StatusCode::OK => Ok(content_digest(&answer)),
                // Some servers have no HEAD; GET will tell.
                StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
                _ => Err(self.refusal(endpoint, &request, answer)),
            }
        })
    }

    /// The document behind the reference.
    pub(crate) fn root_document(&self) -> Result<RawDocument, RegistryError> {
        self.manifest(&self.reference.wanted(), self.reference.digest().copied())
    }

    /// A manifest or index by its digest.
    pub(crate) fn document(&self, descriptor: &Descriptor) -> Result<RawDocument, RegistryError> {
        self.manifest(&descriptor.digest.to_string(), Some(descriptor.digest))
    }

    /// A whole blob of at most `limit` bytes.
    pub(crate) fn small_blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let path = format!("blobs/{}", descriptor.digest);
        self.at_any(|endpoint| {
            let request = Outgoing::new(Method::GET, endpoint.repository_url(&self.http, &path)?);
            let (_, bytes) = self.read_whole(endpoint, request, limit.min(descriptor.size))?;
            Ok(bytes)
        })
    }

    fn manifest(
        &self,
        wanted: &str,
        expected: Option<Digest>,
    ) -> Result<RawDocument, RegistryError> {
        let path = format!("manifests/{wanted}");
        self.at_any(|endpoint| {
            let mut request =
                Outgoing::new(Method::GET, endpoint.repository_url(&self.http, &path)?);
            request.accept = Some(ACCEPT);
            let url = shown(&request.url);
            let (answer, bytes) = self.read_whole(endpoint, request, MANIFEST_LIMIT)?;
            let digest = Digest::of(&bytes);
            match expected.or(answer.digest) {
                Some(expected) if expected != digest => Err(RegistryError::WrongDigest {
                    url,
                    expected,
                    found: digest,
                }),
                _ => Ok(RawDocument {
                    digest,
                    bytes,
                    media_type: answer.media_type,
                }),
            }
        })
    }

    fn read_whole(
        &self,
        endpoint: &Endpoint,
        mut request: Outgoing,
        limit: u64,
    ) -> Result<(AnswerHead, Vec<u8>), RegistryError> {
        let mut failures = 0;
        loop {
            let answer = self.call(endpoint, &mut request)?;
            if answer.status() != StatusCode::OK {
                return Err(self.refusal(endpoint, &request, answer));
            }
            let head = AnswerHead::of(&answer);
            let mut bytes = Vec::new();
            // ureq's own limit is lifted: ours gives the better error.
            let body = answer
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader();
            match body.take(limit + 1).read_to_end(&mut bytes) {
                Ok(_) if bytes.len() as u64 > limit => {
                    return Err(RegistryError::TooLarge {
                        url: shown(&request.url),
                        limit,
                    });
                }
                Ok(_) => return Ok((head, bytes)),
                Err(source) => {
                    failures += 1;
                    let error = RegistryError::Broken {
                        url: shown(&request.url),
                        source,
                    };
                    self.http
                        .pause_after(error, failures, None, &endpoint.retry)?;
                }
            }
        }
    }

    /// Sends a request and proves who asks, as far as the endpoint wants that and we can.
    pub(super) fn call(
        &self,
        endpoint: &Endpoint,
        request: &mut Outgoing,
    ) -> Result<Answer, RegistryError> {
        self.call_with(endpoint, request, &endpoint.retry)
    }

    /// As [`Self::call`], as patiently as `policy` says.
    pub(super) fn call_with(
        &self,
        endpoint: &Endpoint,
        request: &mut Outgoing,
        policy: &RetryPolicy,
    ) -> Result<Answer, RegistryError> {
        let mut logins = 0;
        loop {
            let ticket: Ticket = endpoint.login.ticket(&self.http, &endpoint.retry)?;
            request.authorization.clone_from(&ticket.header);
            let answer = self.http.send(request, policy)?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            logins += 1;
            let login = &endpoint.login;
            let may_try = logins <= LOGIN_ATTEMPTS
                && login.answer(&answer, &request.url, &ticket, &self.http, &endpoint.retry)?;
            if !may_try {
                return Ok(answer);
            }
            // Read to its end, the connection serves the next request too.
            drop(error::detail(answer));
        }
    }

    /// Asks the endpoints in order, beginning with the one that answered last.
    pub(super) fn at_any<T>(
        &self,
        ask: impl Fn(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let first = self.preferred.load(Ordering::Relaxed);
        for (index, endpoint) in self.endpoints.iter().enumerate().skip(first) {
            let is_last = index + 1 == self.endpoints.len();
            match ask(endpoint) {
                Ok(value) => {
                    self.preferred.fetch_max(index, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error @ RegistryError::Interrupted(_)) => return Err(error),
                Err(error) if is_last => return Err(error),
                Err(error) => {
                    tracing::warn!(mirror = endpoint.name, %error, "the mirror cannot serve the image");
                }
            }
        }
        unreachable!("the registry itself is always the last endpoint")
    }

    /// Stops using the endpoint in use. `false`: it is the registry itself.
    pub(crate) fn leave_endpoint(&self) -> bool {
        let next = self.preferred.load(Ordering::Relaxed) + 1;
        let exists = next < self.endpoints.len();
        if exists {
            self.preferred.store(next, Ordering::Relaxed);
        }
        exists
    }

    /// The error for an answer that is not the one hoped for.
    pub(super) fn refusal(
        &self,
        endpoint: &Endpoint,
        request: &Outgoing,
        answer: Answer,
    ) -> RegistryError {
        match answer.status() {
            StatusCode::NOT_FOUND => RegistryError::NotFound {
                registry: endpoint.name.clone(),
                reference: self.wanted_of(request),
                detail: error::detail(answer),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                registry: endpoint.name.clone(),
                repository: self.reference.repository().to_owned(),
                login: endpoint.login.description(),
                detail: error::detail(answer),
            },
            _ => unexpected(request, answer),
        }
    }

    /// What a request asks for, in the words of a reference.
    fn wanted_of(&self, request: &Outgoing) -> String {
        let repository = self.reference.repository();
        match request.url.path().rsplit_once('/') {
            Some((_, digest)) if digest.starts_with("sha256:") => format!("{repository}@{digest}"),
            Some((_, tag)) => format!("{repository}:{tag}"),
            None => repository.to_owned(),
        }
    }
}

struct AnswerHead {
    digest: Option<Digest>,
    media_type: Option<String>,
}

impl AnswerHead {
    fn of(answer: &Answer) -> Self {
        let media_type = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Self {
            digest: content_digest(answer),
            media_type: media_type.map(str::to_owned),
        }
    }
}

fn content_digest(answer: &Answer) -> Option<Digest> {
    Digest::parse(answer.headers().get(CONTENT_DIGEST)?.to_str().ok()?.trim()).ok()
}
