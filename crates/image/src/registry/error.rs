//! What can go wrong between us and a registry, and how a registry says so.
use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Response, StatusCode, Uri, header};

use super::proxy::ProxyError;
use super::roots::RootsError;
use super::url::shown;
use crate::cancel::Interrupted;
use crate::credentials::CredentialError;
use crate::digest::Digest;

/// An exchange with a registry that failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A registry or mirror in the settings is not a host.
    #[error("{location:?} is not a registry: write HOST, HOST:PORT or https://HOST:PORT")]
    Location {
        /// The text.
        location: String,
    },
    /// The certificate authorities cannot be loaded.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The proxy cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The login cannot be found out.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// No answer.
    #[error("cannot reach {url}")]
    Connect {
        /// What was asked.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The server is not who it should be, as far as we can tell.
    #[error(
        "the certificate of {url} is not trusted (if the registry has a certificate authority of its own, name its file as extra CA)"
    )]
    Certificate {
        /// What was asked.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The connection broke during the answer, too often.
    #[error("the answer of {url} broke off")]
    Broken {
        /// What was asked.
        url: String,
        /// How.
        source: std::io::Error,
    },
    /// The server answered with an error.
    #[error("{url} answered {status}{detail}")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// The registry's code and message, with a colon before them, or nothing.
        detail: String,
    },
    /// Too many requests, and the wait the server asks for is too long.
    #[error("{url} refuses further requests for {} seconds{detail}", wait.as_secs())]
    TooManyRequests {
        /// What was asked.
        url: String,
        /// How long the server wants us to wait.
        wait: Duration,
        /// The registry's code and message.
        detail: String,
    },
    /// There is no such image, or it is hidden.
    #[error("{registry} has no image {reference}{detail}")]
    NotFound {
        /// The registry.
        registry: String,
        /// The repository and tag or digest.
        reference: String,
        /// The registry's code and message.
        detail: String,
    },
    /// The registry wants a login, or a better one.
    #[error(
        "{registry} does not let us read {repository}: it does not exist, or needs a login ({login}){detail}"
    )]
    Denied {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What was tried.
        login: &'static str,
        /// The registry's code and message.
        detail: String,
    },
    /// The registry does not let us push there.
    #[error("{registry} does not let us write to {repository} ({login}){detail}")]
    NotWritable {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What was tried.
        login: &'static str,
        /// The registry's code and message.
        detail: String,
    },
    /// A redirect we do not follow.
    #[error("{url} redirects to {target:?}, which {reason}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where it leads, without a query.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// The way to a token is not acceptable.
    #[error("{registry} sends us for a token to {realm:?}, which {reason}")]
    Realm {
        /// The registry.
        registry: String,
        /// Where it sends us.
        realm: String,
        /// Why not.
        reason: &'static str,
    },
    /// The token server's answer holds no token.
    #[error("{url} answered without a token")]
    Token {
        /// What was asked.
        url: String,
    },
    /// A document is longer than any should be.
    #[error("{url} answered with more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The most that is read.
        limit: u64,
    },
    /// The server says that it sends something else than was asked for.
    #[error("{url} answered with {found}, expected {expected}")]
    WrongDigest {
        /// What was asked.
        url: String,
        /// The digest asked for or announced.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// The server's idea of a blob's length is not the manifest's.
    #[error("{url} has {found} bytes, the manifest says {expected}")]
    WrongSize {
        /// What was asked.
        url: String,
        /// By the manifest.
        expected: u64,
        /// By the server.
        found: u64,
    },
    /// The server resumes at another place than asked.
    #[error("{url} was asked to continue at byte {offset} and answered with {range:?}")]
    WrongRange {
        /// What was asked.
        url: String,
        /// Where to continue.
        offset: u64,
        /// The `Content-Range` of the answer.
        range: String,
    },
    /// Cancelled or out of time.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

const DETAIL_LIMIT: u64 = 64 << 10;

#[derive(Deserialize)]
struct RawErrors {
    errors: Vec<RawError>,
}

#[derive(Deserialize)]
struct RawError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an error answer says, ready to follow a sentence: `: CODE: message`.
pub(super) fn detail(response: Response<ureq::Body>) -> String {
    let is_html = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    let mut body = Vec::new();
    let reader = response
        .into_body()
        .into_with_config()
        .limit(DETAIL_LIMIT)
        .reader();
    // Half an explanation is better than none.
    let _ = reader.take(DETAIL_LIMIT).read_to_end(&mut body);
    explain(&body, is_html)
}

fn explain(body: &[u8], is_html: bool) -> String {
    if let Ok(raw) = serde_json::from_slice::<RawErrors>(body) {
        let mut text = String::new();
        for error in raw.errors.iter().take(3) {
            for part in [&error.code, &error.message]
                .into_iter()
                .filter(|part| !part.is_empty())
            {
                // Writing to a String cannot fail.
                let _ = write!(text, ": {}", printable(part));
            }
        }
        return text;
    }
    let text = String::from_utf8_lossy(body);
    if is_html || text.trim_start().starts_with('<') {
        return " with a web page (a proxy or login page, not a registry?)".to_owned();
    }
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", printable(line)),
        None => String::new(),
    }
}

/// A server's words, short and without control characters (which could rewrite a terminal).
fn printable(text: &str) -> String {
    text.trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

impl RegistryError {
    /// For a failed exchange with `url`.
    pub(super) fn transport(url: &Uri, error: ureq::Error) -> Self {
        let (url, source) = (shown(url), Box::new(error));
        if tls_error(&source).is_some_and(|tls| matches!(tls, rustls::Error::InvalidCertificate(_)))
        {
            Self::Certificate { url, source }
        } else {
            Self::Connect { url, source }
        }
    }

    /// For an answer with an error status.
    pub(super) fn status(url: &Uri, response: Response<ureq::Body>) -> Self {
        let status = response.status();
        Self::Status {
            url: shown(url),
            status,
            detail: detail(response),
        }
    }

    /// Whether asking again may help. `reached`: this server has answered before.
    pub(super) fn is_transient(&self, reached: bool) -> bool {
        match self {
            Self::Connect { source, .. } => match &**source {
                ureq::Error::Io(error) if is_break(error.kind()) => true,
                // A wrong name, a closed port: no use in insisting, unless it worked a moment ago.
                ureq::Error::Io(_) => reached && tls_error(source).is_none(),
                ureq::Error::HostNotFound
                | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => reached,
                ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
                ureq::Error::Protocol(_) | ureq::Error::BodyStalled => true,
                _ => false,
            },
            Self::Broken { .. } => true,
            Self::Status { status, .. } => is_transient_status(*status),
            _ => false,
        }
    }

    /// Whether the server does not speak TLS at all.
    pub(super) fn is_not_tls(&self) -> bool {
        let Self::Connect { source, .. } = self else {
            return false;
        };
        match tls_error(source) {
            Some(error) => matches!(error, rustls::Error::InvalidMessage(_)),
            // A server that does not know what to do with a TLS greeting may just hang up.
            None => matches!(&**source, ureq::Error::Io(error) if matches!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )),
        }
    }
}

/// Statuses that mean "later". 501 and 505 mean "never".
pub(super) fn is_transient_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// A connection that was there and is gone.
fn is_break(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        kind,
        Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
            | Kind::TimedOut
    )
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_words_are_passed_on() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#;
        assert_eq!(explain(body, false), ": MANIFEST_UNKNOWN: manifest unknown");
        assert_eq!(
            explain(br#"{"errors":[{"code":"DENIED"}]}"#, false),
            ": DENIED"
        );
        assert_eq!(explain(b"\n  not here\nmore", false), ": not here");
        assert_eq!(explain(b"", false), "");
    }

    #[test]
    fn web_pages_are_called_that_and_control_characters_do_not_pass() {
        assert!(explain(b"<!DOCTYPE html><title>502</title>", false).contains("web page"));
        assert!(explain(b"whatever", true).contains("web page"));
        assert_eq!(explain(b"a\x1b[2Jb\x07", false), ": a[2Jb");
        assert!(explain("x".repeat(10_000).as_bytes(), false).len() < 400);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        use std::io::{Error, ErrorKind};
        let connect = |source: ureq::Error| {
            RegistryError::transport(&"https://r.example/".parse().unwrap(), source)
        };
        let io = |kind: ErrorKind| connect(ureq::Error::Io(Error::from(kind)));
        assert!(io(ErrorKind::ConnectionReset).is_transient(false));
        assert!(connect(ureq::Error::Timeout(ureq::Timeout::PerRead)).is_transient(false));
        for error in [
            io(ErrorKind::ConnectionRefused),
            connect(ureq::Error::Io(Error::other(
                "failed to lookup address information",
            ))),
            connect(ureq::Error::HostNotFound),
            connect(ureq::Error::Timeout(ureq::Timeout::Connect)),
        ] {
            assert!(!error.is_transient(false), "{error:?}");
            assert!(error.is_transient(true), "{error:?}");
        }
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let untrusted = connect(ureq::Error::Io(Error::new(
            ErrorKind::InvalidData,
            untrusted,
        )));
        assert!(matches!(untrusted, RegistryError::Certificate { .. }));
        assert!(!untrusted.is_transient(true));
    }
}
