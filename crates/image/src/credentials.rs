//! Logins for registries, as `docker login` leaves them in `config.json`.
mod helper;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

pub use helper::HelperError;

/// The key under which the Docker tools keep the login of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB_DOMAIN: &str = "docker.io";
/// Nobody is logged in to this many registries.
const FILE_LIMIT: u64 = 4 << 20;

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password.
    Basic {
        /// The user.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// A long-lived token that is exchanged for short-lived ones.
    IdentityToken(String),
    /// A token sent as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Basic { .. } => "Basic(hidden)",
            Credentials::IdentityToken(_) => "IdentityToken(hidden)",
            Credentials::RegistryToken(_) => "RegistryToken(hidden)",
        })
    }
}

/// Why the login of a registry could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file exists but cannot be read.
    #[error("cannot read the Docker configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not what Docker writes.
    #[error("the Docker configuration {path} is not valid JSON of the expected form")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// An entry's `auth` is not base64 of `USER:PASSWORD`.
    #[error(
        "the Docker configuration {path} has a damaged login for {registry}; run `docker login {registry}` again"
    )]
    Auth {
        /// The file.
        path: PathBuf,
        /// Whose login.
        registry: String,
    },
    /// A credential helper failed.
    #[error("cannot get the login for {registry} from the credential helper that {path} names")]
    Helper {
        /// The file.
        path: PathBuf,
        /// Whose login.
        registry: String,
        /// What went wrong.
        source: HelperError,
    },
}

/// The Docker configuration of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFile {
    path: Option<PathBuf>,
    /// Where helpers are looked for, instead of this process's `PATH`.
    search_path: Option<OsString>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawFile {
    auths: Option<BTreeMap<String, RawAuth>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl CredentialFile {
    /// `config.json` in this directory; a directory or file that does not exist means no logins.
    pub fn in_dir(dir: Option<&Path>) -> Self {
        Self {
            path: dir.map(|dir| dir.join("config.json")),
            search_path: None,
        }
    }

    /// Looks for helpers in these directories (in the form of `PATH`) instead of this process's `PATH`.
    pub fn with_search_path(self, search_path: Option<OsString>) -> Self {
        Self {
            search_path,
            ..self
        }
    }

    /// The login for a repository of a registry (`docker.io`, `ghcr.io`, `localhost:5000`).
    ///
    /// A helper named for the registry comes first, then the helper for all, then the file itself.
    pub fn get(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, CredentialError> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let Some(file) = read(path)? else {
            return Ok(None);
        };
        if let Some(name) = file.helper_for(registry) {
            let server = if registry == HUB_DOMAIN {
                HUB_KEY
            } else {
                registry
            };
            let found =
                helper::get(name, server, self.search_path.as_deref()).map_err(|source| {
                    CredentialError::Helper {
                        path: path.clone(),
                        registry: registry.to_owned(),
                        source,
                    }
                })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        match file.auth_for(registry, repository) {
            None => Ok(None),
            Some(auth) => auth
                .credentials()
                .map_err(|DamagedAuth| CredentialError::Auth {
                    path: path.clone(),
                    registry: registry.to_owned(),
                }),
        }
    }
}

fn read(path: &Path) -> Result<Option<RawFile>, CredentialError> {
    let failed = |source| CredentialError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            let mut file = std::io::Read::take(file, FILE_LIMIT);
            std::io::Read::read_to_end(&mut file, &mut bytes).map_err(failed)?;
        }
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| CredentialError::Json {
            path: path.to_owned(),
            source,
        })
}

impl RawFile {
    fn helper_for(&self, registry: &str) -> Option<&str> {
        let special = self
            .cred_helpers
            .iter()
            .flatten()
            .find(|(key, _)| domain_of(key) == registry);
        let name = special
            .map(|(_, name)| name)
            .or(self.creds_store.as_ref())?;
        (!name.is_empty()).then_some(name)
    }

    /// The entry whose key names the most of `registry/repository`.
    fn auth_for(&self, registry: &str, repository: &str) -> Option<&RawAuth> {
        let matches = self.auths.iter().flatten().filter_map(|(key, auth)| {
            let key = plain_key(key);
            let (domain, prefix) = key.split_once('/').unwrap_or((key, ""));
            // Old keys carry the API's version as a path.
            let prefix = if matches!(prefix, "v1" | "v2") {
                ""
            } else {
                prefix
            };
            let covers = prefix.is_empty()
                || repository
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            (normal_domain(domain) == registry && covers).then_some((prefix.len(), auth))
        });
        matches.max_by_key(|(len, _)| *len).map(|(_, auth)| auth)
    }
}

/// A key without its scheme and without slashes at the end.
fn plain_key(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    key.trim_end_matches('/')
}

fn domain_of(key: &str) -> &str {
    let key = plain_key(key);
    normal_domain(key.split('/').next().unwrap_or(key))
}

fn normal_domain(domain: &str) -> &str {
    match domain {
        "index.docker.io" | "registry-1.docker.io" => HUB_DOMAIN,
        domain => domain,
    }
}

struct DamagedAuth;

impl RawAuth {
    fn credentials(&self) -> Result<Option<Credentials>, DamagedAuth> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credentials::RegistryToken(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let bytes = STANDARD.decode(auth.trim()).map_err(|_| DamagedAuth)?;
            let text = String::from_utf8(bytes).map_err(|_| DamagedAuth)?;
            let (username, password) = text.split_once(':').ok_or(DamagedAuth)?;
            // Docker pads what it writes with zero bytes in some versions.
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credentials::Basic {
                username: username.to_owned(),
                password,
            }));
        }
        match (given(&self.username), given(&self.password)) {
            (Some(username), Some(password)) => Ok(Some(Credentials::Basic { username, password })),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
