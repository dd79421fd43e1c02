//! HTTP exchanges: agents, redirects, repetition.
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Seek;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use ureq::tls::TlsConfig;

use super::error::is_transient_status;
use super::retry::{RetryPolicy, retry_after};
use super::url::{Origin, join, shown};
use super::{RegistryError, RegistryOptions, roots};
use crate::cancel::{HookGuard, Interrupted, Patience};

pub(super) type Answer = Response<ureq::Body>;

const USER_AGENT: &str = concat!("supermachine/", env!("CARGO_PKG_VERSION"));
const REDIRECT_LIMIT: usize = 10;
/// Silence before the first byte of an answer; registries may have to fetch a blob from somewhere.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A request before it is sent, possibly several times.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Uri,
    pub(super) accept: Option<&'static str>,
    /// Sent to the origin of `url` only.
    pub(super) authorization: Option<HeaderValue>,
    /// The first byte wanted, if not the very first.
    pub(super) offset: u64,
    /// A form to post.
    pub(super) form: Option<String>,
    /// Content to put or post.
    pub(super) payload: Option<Payload>,
}

/// Content on its way out, which can be sent again.
#[derive(Clone)]
pub(crate) enum Payload {
    /// Bytes and their media type.
    Bytes(Arc<[u8]>, &'static str),
    /// All of a file.
    File(Arc<File>),
}

impl Outgoing {
    pub(super) fn new(method: Method, url: Uri) -> Self {
        Self {
            method,
            url,
            accept: None,
            authorization: None,
            offset: 0,
            form: None,
            payload: None,
        }
    }
}

pub(super) struct Http {
    agents: Arc<Mutex<Agents>>,
    options: RegistryOptions,
    patience: Patience,
    /// Servers that have answered: a refused connection there is worth another try.
    reached: Mutex<BTreeSet<Origin>>,
    _shutdown: HookGuard,
}

/// One agent each for plain and TLS connections, with and without a proxy.
#[derive(Default)]
struct Agents {
    open: BTreeMap<(bool, bool), Agent>,
    is_closed: bool,
}

impl Http {
    pub(super) fn new(options: &RegistryOptions, patience: &Patience) -> Self {
        let agents = Arc::new(Mutex::new(Agents::default()));
        let to_close = Arc::clone(&agents);
        // Cuts connections in use, so that nobody waits for a silent server after a cancellation.
        let shutdown = patience.cancel.on_cancel(move || {
            let mut agents = lock(&to_close);
            agents.is_closed = true;
            for agent in std::mem::take(&mut agents.open).into_values() {
                agent.shutdown();
            }
        });
        Self {
            agents,
            options: options.clone(),
            patience: patience.clone(),
            reached: Mutex::new(BTreeSet::new()),
            _shutdown: shutdown,
        }
    }

    /// Sends a request until there is an answer that is not a passing failure, or patience ends.
    pub(super) fn send(
        &self,
        request: &Outgoing,
        policy: &RetryPolicy,
    ) -> Result<Answer, RegistryError> {
        let mut failures = 0;
        loop {
            let (error, asked_wait) = match self.exchange(request) {
                Ok(answer) if is_transient_status(answer.status()) => {
                    let asked = answer
                        .headers()
                        .get(header::RETRY_AFTER)
                        .and_then(|value| value.to_str().ok());
                    let asked = asked.and_then(|value| retry_after(value, SystemTime::now()));
                    (RegistryError::status(&request.url, answer), asked)
                }
                Ok(answer) => return Ok(answer),
                Err(error) => (error, None),
            };
            failures += 1;
            self.pause_after(error, failures, asked_wait, policy)?;
        }
    }

    /// Waits after a failure, or returns it if it should stand.
    pub(super) fn pause_after(
        &self,
        error: RegistryError,
        failures: u32,
        asked_wait: Option<Duration>,
        policy: &RetryPolicy,
    ) -> Result<(), RegistryError> {
        self.patience.check()?;
        if !error.is_transient(self.was_reached(&error)) {
            return Err(error);
        }
        let Some(wait) = policy.wait_after(failures) else {
            return Err(error);
        };
        let wait = asked_wait.unwrap_or(wait);
        if let RegistryError::Status { url, detail, .. } = &error
            && wait > policy.longest_asked_wait.max(policy.longest_wait)
        {
            return Err(RegistryError::TooManyRequests {
                url: url.clone(),
                wait,
                detail: detail.clone(),
            });
        }
        tracing::info!(?wait, %error, "trying again");
        match self.patience.pause(wait) {
            // The failure says more than that there is no time to try again.
            Err(Interrupted::Deadline) => Err(error),
            other => Ok(other?),
        }
    }

    fn was_reached(&self, error: &RegistryError) -> bool {
        match error {
            RegistryError::Connect { url, .. } => {
                let origin = url.parse().ok().and_then(|url| Origin::of(&url));
                origin.is_some_and(|origin| lock(&self.reached).contains(&origin))
            }
            _ => true,
        }
    }

    /// Sends a request once and follows redirects.
    pub(super) fn exchange(&self, request: &Outgoing) -> Result<Answer, RegistryError> {
        let home = Origin::of(&request.url);
        let mut url = request.url.clone();
        for _ in 0..=REDIRECT_LIMIT {
            self.patience.check()?;
            let is_home = Origin::of(&url) == home;
            let answer = self.once(request, &url, is_home)?;
            if !is_redirect(answer.status()) {
                return Ok(answer);
            }
            url = redirect_target(request, &url, &answer)?;
        }
        Err(RegistryError::Redirect {
            url: shown(&request.url),
            target: shown(&url),
            reason: "is one redirect too many",
        })
    }

    fn once(&self, request: &Outgoing, url: &Uri, is_home: bool) -> Result<Answer, RegistryError> {
        let invalid = || RegistryError::Location {
            location: shown(url),
        };
        let origin = Origin::of(url).ok_or_else(invalid)?;
        let mut builder = Request::builder()
            .method(request.method.clone())
            .uri(url.clone())
            // A body compressed on the way would not have the digest asked for.
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(accept) = request.accept {
            builder = builder.header(header::ACCEPT, accept);
        }
        if let Some(authorization) = request.authorization.as_ref().filter(|_| is_home) {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        if request.offset > 0 {
            builder = builder.header(header::RANGE, format!("bytes={}-", request.offset));
        }
        let agent = self.agent(&origin)?;
        let sent = match (&request.form, &request.payload) {
            (_, Some(Payload::Bytes(bytes, media_type))) => {
                let builder = builder.header(header::CONTENT_TYPE, *media_type);
                agent.run(builder.body(&bytes[..]).map_err(|_| invalid())?)
            }
            (_, Some(Payload::File(file))) => {
                let broken = |source| RegistryError::Broken {
                    url: shown(url),
                    source,
                };
                (&**file).rewind().map_err(broken)?;
                let builder = builder.header(header::CONTENT_TYPE, "application/octet-stream");
                agent.run(builder.body(&**file).map_err(|_| invalid())?)
            }
            (Some(form), None) => {
                let builder =
                    builder.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
                agent.run(builder.body(form.clone()).map_err(|_| invalid())?)
            }
            (None, None) => agent.run(builder.body(()).map_err(|_| invalid())?),
        };
        match sent {
            Ok(answer) => {
                lock(&self.reached).insert(origin);
                Ok(answer)
            }
            Err(error) => {
                // A connection we cut ourselves is no failure of the server.
                self.patience.check()?;
                Err(RegistryError::transport(url, error))
            }
        }
    }

    fn agent(&self, origin: &Origin) -> Result<Agent, RegistryError> {
        let is_proxied = self.options.proxies.apply_to(origin);
        let mut agents = lock(&self.agents);
        if agents.is_closed {
            self.patience.check()?;
            return Err(Interrupted::Cancelled.into());
        }
        if let Some(agent) = agents.open.get(&(origin.is_tls, is_proxied)) {
            return Ok(agent.clone());
        }
        let agent = self.build_agent(origin.is_tls, is_proxied)?;
        agents
            .open
            .insert((origin.is_tls, is_proxied), agent.clone());
        Ok(agent)
    }

    fn build_agent(&self, is_tls: bool, is_proxied: bool) -> Result<Agent, RegistryError> {
        let options = &self.options;
        let proxy = if is_proxied {
            options.proxies.proxy(is_tls)?
        } else {
            None
        };
        let mut config = Agent::config_builder()
            .user_agent(USER_AGENT)
            .http_status_as_error(false)
            // Ours to follow: credentials must not, and TLS must stay.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_per_read(Some(options.read_timeout))
            .timeout_per_write(Some(options.read_timeout))
            .timeout_recv_response(Some(ANSWER_TIMEOUT.max(options.read_timeout)));
        // Reading the bundle of a TLS proxy's authorities too costs nothing extra.
        if is_tls || proxy.is_some() {
            let roots = roots::load(options.system_ca.as_deref(), options.extra_ca.as_deref())?;
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(config.proxy(proxy).build().new_agent())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_target(request: &Outgoing, url: &Uri, answer: &Answer) -> Result<Uri, RegistryError> {
    let refuse = |target: String, reason| RegistryError::Redirect {
        url: shown(url),
        target,
        reason,
    };
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if request.form.is_some() {
        return Err(refuse(
            strip_query(location),
            "would carry a login elsewhere",
        ));
    }
    let target =
        join(url, location).ok_or_else(|| refuse(strip_query(location), "is not a web address"))?;
    let (from, to) = (Origin::of(url), Origin::of(&target));
    let loses_tls = from.is_some_and(|from| from.is_tls) && to.is_some_and(|to| !to.is_tls);
    if loses_tls {
        return Err(refuse(shown(&target), "is not encrypted"));
    }
    Ok(target)
}

fn strip_query(location: &str) -> String {
    location
        .split('?')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

/// The error for an answer nobody expected.
pub(super) fn unexpected(request: &Outgoing, answer: Answer) -> RegistryError {
    RegistryError::status(&request.url, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(from: &str, location: &str) -> Result<Uri, RegistryError> {
        let url: Uri = from.parse().unwrap();
        let answer = Response::builder()
            .status(307)
            .header(header::LOCATION, location)
            .body(ureq::Body::builder().data(""))
            .unwrap();
        redirect_target(&Outgoing::new(Method::GET, url.clone()), &url, &answer)
    }

    #[test]
    fn redirects_keep_their_encryption_and_go_to_the_web_only() {
        assert_eq!(
            redirect("https://r.example/v2/a", "https://cdn.example/b").unwrap(),
            "https://cdn.example/b"
        );
        assert_eq!(
            redirect("http://r.example/v2/a", "https://cdn.example/b").unwrap(),
            "https://cdn.example/b"
        );
        for location in [
            "http://r.example/v2/a",
            "http://127.0.0.1/",
            "file:///etc/passwd",
            "",
        ] {
            let error = redirect("https://r.example/v2/a", location);
            assert!(
                location.is_empty() || matches!(error, Err(RegistryError::Redirect { .. })),
                "{location}"
            );
        }
    }

    #[test]
    fn a_posted_login_follows_no_redirect_and_no_error_shows_a_signature() {
        let url: Uri = "https://auth.example/token".parse().unwrap();
        let mut request = Outgoing::new(Method::POST, url.clone());
        request.form = Some("refresh_token=secret".to_owned());
        let answer = Response::builder()
            .status(307)
            .header(header::LOCATION, "https://evil.example/?sig=secret")
            .body(ureq::Body::builder().data(""))
            .unwrap();
        let error = redirect_target(&request, &url, &answer).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
