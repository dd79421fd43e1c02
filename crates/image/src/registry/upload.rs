//! Putting blobs and manifests into a repository (distribution specification, "Pushing").
//!
//! Only the registry itself is written to, never a mirror. An upload that breaks is begun anew: what a server keeps of
//! one is its own affair.
use std::fs::File;
use std::sync::Arc;

use ureq::http::{Method, StatusCode, Uri, header};

use super::endpoint::Endpoint;
use super::http::{Answer, Outgoing, Payload};
use super::retry::RetryPolicy;
use super::url::{Origin, join, shown};
use super::{Registry, RegistryError, error};
use crate::digest::Digest;

impl Registry {
    fn upstream(&self) -> &Endpoint {
        self.endpoints
            .last()
            .unwrap_or_else(|| unreachable!("the registry itself is always the last endpoint"))
    }

    /// Puts a blob there, unless the repository has it.
    pub(crate) fn put_blob(&self, digest: &Digest, content: &Payload) -> Result<(), RegistryError> {
        let endpoint = self.upstream();
        let mut failures = 0;
        while !self.has_blob(endpoint, digest)? {
            match self.upload(endpoint, digest, content) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    failures += 1;
                    self.http
                        .pause_after(error, failures, None, &endpoint.retry)?;
                }
            }
        }
        Ok(())
    }

    fn has_blob(&self, endpoint: &Endpoint, digest: &Digest) -> Result<bool, RegistryError> {
        let url = endpoint.repository_url(&self.http, &format!("blobs/{digest}"))?;
        let mut request = Outgoing::new(Method::HEAD, url);
        // A repository that does not exist yet may hide behind any refusal; the upload will tell.
        Ok(self.call(endpoint, &mut request)?.status() == StatusCode::OK)
    }

    fn upload(
        &self,
        endpoint: &Endpoint,
        digest: &Digest,
        content: &Payload,
    ) -> Result<(), RegistryError> {
        let url = endpoint.repository_url(&self.http, "blobs/uploads/")?;
        let mut begin = Outgoing::new(Method::POST, url);
        begin.payload = Some(Payload::bytes(Vec::new(), "application/octet-stream"));
        let begun = self.call(endpoint, &mut begin)?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(self.unwilling(endpoint, &begin, begun));
        }
        let place = upload_place(&begin.url, &begun, digest)?;
        drop(error::detail(begun));
        let mut put = Outgoing::new(Method::PUT, place);
        put.payload = Some(content.clone());
        // Once: a second attempt needs a new place.
        let once = RetryPolicy {
            attempts: 1,
            ..endpoint.retry.clone()
        };
        let answer = self.call_with(endpoint, &mut put, &once)?;
        match answer.status() {
            StatusCode::CREATED => {
                drop(error::detail(answer));
                Ok(())
            }
            _ => Err(self.unwilling(endpoint, &put, answer)),
        }
    }

    /// Puts a manifest under the reference's tag, or under its own digest where the reference has none.
    pub(crate) fn put_manifest(
        &self,
        manifest: Vec<u8>,
        media_type: &'static str,
    ) -> Result<Digest, RegistryError> {
        let endpoint = self.upstream();
        let digest = Digest::of(&manifest);
        let path = format!("manifests/{}", self.reference.wanted());
        let mut request = Outgoing::new(Method::PUT, endpoint.repository_url(&self.http, &path)?);
        request.payload = Some(Payload::bytes(manifest, media_type));
        let answer = self.call(endpoint, &mut request)?;
        match answer.status() {
            StatusCode::CREATED => Ok(digest),
            _ => Err(self.unwilling(endpoint, &request, answer)),
        }
    }

    fn unwilling(&self, endpoint: &Endpoint, request: &Outgoing, answer: Answer) -> RegistryError {
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::NotWritable {
                registry: endpoint.name.clone(),
                repository: self.reference.repository().to_owned(),
                login: endpoint.login.description(),
                detail: error::detail(answer),
            },
            _ => self.refusal(endpoint, request, answer),
        }
    }
}

/// Where the content of a blob goes, which has to be the server that was asked: a login goes there too.
fn upload_place(asked: &Uri, begun: &Answer, digest: &Digest) -> Result<Uri, RegistryError> {
    let location = begun.headers().get(header::LOCATION);
    let location = location
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let refuse = |reason| RegistryError::Redirect {
        url: shown(asked),
        target: location.split('?').next().unwrap_or_default().to_owned(),
        reason,
    };
    let place = join(asked, location).ok_or_else(|| refuse("is not a web address"))?;
    if Origin::of(&place) != Origin::of(asked) {
        return Err(refuse("is another server"));
    }
    let separator = if place.query().is_some() { '&' } else { '?' };
    let algorithm_and_hex = digest.to_string().replace(':', "%3A");
    format!("{place}{separator}digest={algorithm_and_hex}")
        .parse()
        .map_err(|_| refuse("is not a web address"))
}

impl Payload {
    /// Bytes in memory.
    pub(crate) fn bytes(bytes: Vec<u8>, media_type: &'static str) -> Self {
        Self::Bytes(Arc::from(bytes), media_type)
    }

    /// All of a file, from its start.
    pub(crate) fn file(file: File) -> Self {
        Self::File(Arc::new(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::Response;

    fn place(location: &str) -> Result<Uri, RegistryError> {
        let asked = "https://r.example/v2/a/blobs/uploads/".parse().unwrap();
        let begun = Response::builder()
            .header(header::LOCATION, location)
            .body(ureq::Body::builder().data(""))
            .unwrap();
        upload_place(&asked, &begun, &Digest::of(b""))
    }

    #[test]
    fn a_blob_goes_to_the_server_that_was_asked_and_nowhere_else() {
        let hex = Digest::of(b"").hex();
        for (location, expected) in [
            (
                "/v2/a/blobs/uploads/1?state=x%3D",
                "/v2/a/blobs/uploads/1?state=x%3D&digest=sha256%3A",
            ),
            ("https://r.example/u/1", "/u/1?digest=sha256%3A"),
        ] {
            let found = place(location).unwrap().to_string();
            assert_eq!(found, format!("https://r.example{expected}{hex}"));
        }
        for location in [
            "https://evil.example/u",
            "http://r.example/u",
            "ftp://r.example/",
            "",
        ] {
            let found = place(location);
            assert!(
                location.is_empty() || matches!(found, Err(RegistryError::Redirect { .. })),
                "{location}"
            );
        }
    }
}
