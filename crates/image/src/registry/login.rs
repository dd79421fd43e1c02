//! Proving to an endpoint who asks: basic authentication and bearer tokens
//! ([distribution token authentication](https://distribution.github.io/distribution/spec/auth/token/)).
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{HeaderValue, Method, StatusCode, Uri, header};

use super::RegistryError;
use super::challenge::{self, Challenge};
use super::http::{Answer, Http, Outgoing, unexpected};
use super::retry::RetryPolicy;
use super::url::{Origin, shown};
use crate::credentials::{CredentialFile, Credentials};

/// The lifetime of a token whose server does not say (the token specification's default).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is renewed this long before it ends, so that it does not end on its way.
const MARGIN: Duration = Duration::from_secs(10);
const TOKEN_LIMIT: u64 = 1 << 20;
const CLIENT_ID: &str = "supermachine";

/// What an endpoint knows about us. Shared by the threads of a pull: one of them gets a token, all use it.
pub(super) struct Login {
    registry: String,
    repository: String,
    file: CredentialFile,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    credentials: Option<Option<Credentials>>,
    bearer: Option<Bearer>,
    proof: Option<Proof>,
    /// Counts proofs, so that a refused one can be told from its successor.
    generation: u64,
}

#[derive(Clone)]
struct Bearer {
    realm: Uri,
    service: Option<String>,
    scope: String,
}

#[derive(Clone)]
struct Proof {
    header: HeaderValue,
    expires: Option<Instant>,
}

/// A proof and which one it is.
pub(super) struct Ticket {
    pub(super) header: Option<HeaderValue>,
    generation: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Login {
    pub(super) fn new(registry: &str, repository: &str, file: &CredentialFile) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            file: file.clone(),
            state: Mutex::new(State::default()),
        }
    }

    /// What to send with the next request. Nothing, until the endpoint has asked.
    pub(super) fn ticket(
        &self,
        http: &Http,
        policy: &RetryPolicy,
    ) -> Result<Ticket, RegistryError> {
        let mut state = self.lock();
        let is_over = |proof: &Proof| proof.expires.is_some_and(|end| Instant::now() >= end);
        if state.proof.as_ref().is_some_and(is_over)
            && let Some(bearer) = state.bearer.clone()
        {
            self.fetch_token(&mut state, &bearer, http, policy)?;
        }
        let header = state.proof.as_ref().map(|proof| proof.header.clone());
        Ok(Ticket {
            header,
            generation: state.generation,
        })
    }

    /// Answers a refusal (401) of `used`. `false`: there is nothing else to offer.
    pub(super) fn answer(
        &self,
        refusal: &Answer,
        asked: &Uri,
        used: &Ticket,
        http: &Http,
        policy: &RetryPolicy,
    ) -> Result<bool, RegistryError> {
        // The lock is held while the token is fetched: who comes meanwhile gets it for free.
        let mut state = self.lock();
        if state.generation != used.generation {
            return Ok(true);
        }
        let challenges: Vec<Challenge> = refusal
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let offered = |scheme: &str| {
            challenges
                .iter()
                .find(|challenge| challenge.scheme == scheme)
        };
        if let Some(challenge) = offered("bearer") {
            let bearer = self.bearer(challenge, asked)?;
            state.bearer = Some(bearer.clone());
            self.fetch_token(&mut state, &bearer, http, policy)?;
            return Ok(true);
        }
        if offered("basic").is_some()
            && used.header.is_none()
            && let Some(Credentials::Basic { username, password }) = self.credentials(&mut state)?
        {
            state.set(basic(&username, &password), None);
            return Ok(true);
        }
        Ok(false)
    }

    /// What we could show, for an error message.
    pub(super) fn description(&self) -> &'static str {
        match self.lock().credentials {
            Some(Some(_)) => "the login found in Docker's configuration was refused",
            _ => "none was found in Docker's configuration: try `docker login`",
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after every statement that holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn credentials(&self, state: &mut State) -> Result<Option<Credentials>, RegistryError> {
        if let Some(known) = &state.credentials {
            return Ok(known.clone());
        }
        let found = self.file.get(&self.registry, &self.repository)?;
        state.credentials = Some(found.clone());
        Ok(found)
    }

    fn bearer(&self, challenge: &Challenge, asked: &Uri) -> Result<Bearer, RegistryError> {
        let text = challenge.param("realm").unwrap_or_default();
        let refuse = |reason| RegistryError::Realm {
            registry: self.registry.clone(),
            realm: text
                .split('?')
                .next()
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
            reason,
        };
        let realm: Uri = text.parse().map_err(|_| refuse("is not a web address"))?;
        let to = Origin::of(&realm).ok_or_else(|| refuse("is not a web address"))?;
        let was_tls = Origin::of(asked).is_none_or(|from| from.is_tls);
        if was_tls && !to.is_tls {
            return Err(refuse("is not encrypted"));
        }
        let scope = challenge.param("scope").filter(|scope| !scope.is_empty());
        let scope = scope.map_or_else(
            || format!("repository:{}:pull", self.repository),
            str::to_owned,
        );
        Ok(Bearer {
            realm,
            service: challenge.param("service").map(str::to_owned),
            scope,
        })
    }

    fn fetch_token(
        &self,
        state: &mut State,
        bearer: &Bearer,
        http: &Http,
        policy: &RetryPolicy,
    ) -> Result<(), RegistryError> {
        let credentials = self.credentials(state)?;
        if let Some(Credentials::RegistryToken(token)) = &credentials {
            state.set(bearer_header(token, &bearer.realm)?, None);
            return Ok(());
        }
        let request = bearer.request(&self.registry, credentials.as_ref())?;
        let asked_at = Instant::now();
        let answer = http.send(&request, policy)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(RegistryError::Denied {
                    registry: self.registry.clone(),
                    repository: self.repository.clone(),
                    login: if credentials.is_some() {
                        "the login was refused"
                    } else {
                        "none was found: try `docker login`"
                    },
                    detail: super::error::detail(answer),
                });
            }
            _ => return Err(unexpected(&request, answer)),
        }
        let no_token = || RegistryError::Token {
            url: shown(&request.url),
        };
        let body = answer
            .into_body()
            .into_with_config()
            .limit(TOKEN_LIMIT)
            .read_to_vec()
            .map_err(|_| no_token())?;
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| no_token())?;
        let given = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty());
        let token = given.ok_or_else(no_token)?;
        let lifetime = answer
            .expires_in
            .map_or(DEFAULT_LIFETIME, Duration::from_secs);
        // A lifetime beyond what the clock can hold never ends.
        let expires = asked_at.checked_add(lifetime.saturating_sub(MARGIN).max(lifetime / 2));
        state.set(bearer_header(&token, &bearer.realm)?, expires);
        Ok(())
    }
}

impl State {
    fn set(&mut self, header: HeaderValue, expires: Option<Instant>) {
        self.proof = Some(Proof { header, expires });
        self.generation += 1;
    }
}

impl Bearer {
    /// With an identity token: the OAuth2 way, by POST. Otherwise the older GET, which all servers know.
    fn request(
        &self,
        registry: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Outgoing, RegistryError> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        pairs.extend(self.service.as_deref().map(|service| ("service", service)));
        pairs.push(("scope", &self.scope));
        if let Some(Credentials::IdentityToken(token)) = credentials {
            pairs.extend([
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT_ID),
                ("refresh_token", token),
            ]);
            let mut request = Outgoing::new(Method::POST, self.realm.clone());
            request.form = Some(form(&pairs));
            return Ok(request);
        }
        let basic = match credentials {
            Some(Credentials::Basic { username, password }) => {
                pairs.push(("account", username));
                Some(basic(username, password))
            }
            _ => None,
        };
        let separator = if self.realm.query().is_some() {
            '&'
        } else {
            '?'
        };
        let url = format!("{}{separator}{}", self.realm, form(&pairs));
        let url = url.parse().map_err(|_| RegistryError::Realm {
            registry: registry.to_owned(),
            realm: shown(&self.realm),
            reason: "is not a web address",
        })?;
        let mut request = Outgoing::new(Method::GET, url);
        request.authorization = basic;
        Ok(request)
    }
}

fn basic(username: &str, password: &str) -> HeaderValue {
    secret(format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    ))
    .unwrap_or_else(|| unreachable!("base64 is printable ASCII"))
}

fn bearer_header(token: &str, realm: &Uri) -> Result<HeaderValue, RegistryError> {
    secret(format!("Bearer {token}")).ok_or_else(|| RegistryError::Token { url: shown(realm) })
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `application/x-www-form-urlencoded`, which is also fit for a query.
fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={}", percent(value)))
        .collect();
    pairs.join("&")
}

fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
