//! Image ids: the digest of a manifest, or the start of one.
use std::fmt;

/// The first hex digits of a manifest's digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdPrefix {
    hex: String,
}

const HEX_LEN: usize = 64;
/// Shorter prefixes would match by accident.
const MIN_LEN: usize = 4;

impl IdPrefix {
    /// Texts that can only be an id: `sha256:` and hex digits, or all 64 hex digits
    /// (which Docker's grammar refuses as a repository name for this very reason).
    pub(super) fn exact(text: &str) -> Option<Self> {
        match text.strip_prefix("sha256:") {
            Some(hex) => Self::any(hex),
            None if text.len() == HEX_LEN => Self::any(text),
            None => None,
        }
    }

    /// Any text that could be the start of an id, even if it could be a name too.
    pub fn any(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && (MIN_LEN..=HEX_LEN).contains(&text.len())).then(|| Self {
            hex: text.to_owned(),
        })
    }

    /// The hex digits, without `sha256:`.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex)
    }
}
