//! References to registries, by the grammar of the Docker tools (`distribution/reference`).
use std::fmt;
use std::str::FromStr;

use super::{IdPrefix, ReferenceError};
use crate::digest::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
/// Docker Hub's first name, still in old scripts and in credential files.
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const PATH_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// A repository of a registry and what is wanted of it, fully spelled out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryRef {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl RegistryRef {
    /// The registry as users write it: `docker.io`, `ghcr.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository inside the registry: `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.path
    }

    /// The tag. There is one unless a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest. Where there is one it decides, and the tag is only a remark.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The short form Docker prints: `alpine:3`, `org/app:1`, `ghcr.io/org/app:1`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        if self.domain != DEFAULT_DOMAIN {
            return full;
        }
        let prefix = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(word) if !word.contains('/') => "docker.io/library/",
            _ => "docker.io/",
        };
        full.strip_prefix(prefix).unwrap_or(&full).to_owned()
    }

    /// The id this could also mean: a bare word of hex digits is one to Docker if no image has that name.
    pub(crate) fn as_id(&self) -> Option<IdPrefix> {
        let bare = self.domain == DEFAULT_DOMAIN
            && self.tag() == Some(DEFAULT_TAG)
            && self.digest.is_none();
        let word = self.path.strip_prefix(OFFICIAL_PREFIX)?;
        if bare { IdPrefix::any(word) } else { None }
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for RegistryRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains("://") {
            return Err(malformed(
                text,
                "write the image without a scheme such as `https://` or `docker://`",
            ));
        }
        let (domain, rest) = split_domain(text);
        // The tag cannot be told from a registry's port before the domain is off.
        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(parse_digest(text, digest)?)),
            None => (rest, None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(parse_tag(text, tag)?)),
            None => (named, None),
        };
        check_domain(text, domain)?;
        check_path(text, path)?;
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if path.len() > PATH_LIMIT {
            return Err(ReferenceError::NameTooLong {
                len: path.len(),
                limit: PATH_LIMIT,
            });
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag,
        };
        Ok(Self {
            domain: domain.to_owned(),
            path,
            tag,
            digest,
        })
    }
}

/// The first part is a registry if it could not be a repository: it has a dot or a colon, is
/// `localhost`, or has uppercase letters.
fn split_domain(text: &str) -> (&str, &str) {
    let Some((first, rest)) = text.split_once('/') else {
        return (DEFAULT_DOMAIN, text);
    };
    let is_domain = first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|b| b.is_ascii_uppercase());
    match (is_domain, first) {
        (true, LEGACY_DOMAIN) => (DEFAULT_DOMAIN, rest),
        (true, domain) => (domain, rest),
        (false, _) => (DEFAULT_DOMAIN, text),
    }
}

fn malformed(text: &str, hint: &'static str) -> ReferenceError {
    ReferenceError::Malformed {
        text: text.to_owned(),
        hint,
    }
}

fn parse_digest(text: &str, digest: &str) -> Result<Digest, ReferenceError> {
    Digest::parse(digest).map_err(|_| ReferenceError::Digest {
        text: text.to_owned(),
        digest: digest.to_owned(),
    })
}

fn parse_tag(text: &str, tag: &str) -> Result<String, ReferenceError> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = tag.len() <= TAG_LIMIT
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b == b'.' || b == b'-');
    if fits {
        Ok(tag.to_owned())
    } else {
        Err(ReferenceError::Tag {
            text: text.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

fn check_domain(text: &str, domain: &str) -> Result<(), ReferenceError> {
    let wrong = || malformed(text, "the registry must be HOST or HOST:PORT");
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or_else(wrong)?;
            let is_v6 =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !is_v6 {
                return Err(wrong());
            }
            (
                None,
                after
                    .strip_prefix(':')
                    .or((!after.is_empty()).then_some("")),
            )
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let port_fits = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let host_fits = host.is_none_or(|h| h.split('.').all(is_domain_label));
    if port_fits && host_fits {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn is_domain_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check_path(text: &str, path: &str) -> Result<(), ReferenceError> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase {
            text: text.to_owned(),
            name: path.to_owned(),
        });
    }
    if path.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err(malformed(
            text,
            "a repository is lowercase letters and digits, separated by `.`, `_`, `__` or dashes, in parts separated by `/`",
        ))
    }
}

/// Runs of letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn is_path_component(part: &str) -> bool {
    let is_alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let edges_fit = part.starts_with(is_alnum) && part.ends_with(is_alnum);
    edges_fit
        && part
            .split(is_alnum)
            .filter(|separator| !separator.is_empty())
            .all(|separator| {
                matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
            })
}
