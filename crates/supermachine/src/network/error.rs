//! What can be wrong with networks that have a name.

use std::io;
use std::path::PathBuf;

/// What can be wrong with networks that have a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Not a name for a network.
    #[error(
        "{0:?} is not a name for a network: use letters, digits, `_`, `.` and `-`, two at least, and no word like none or public"
    )]
    Name(String),
    /// Not a name for a member.
    #[error("{0:?} is not a name for a member of a network")]
    Alias(String),
    /// There is one of this name.
    #[error("the network {0} is there already")]
    Exists(String),
    /// There is none of this name.
    #[error("no such network: {0}")]
    NotFound(String),
    /// A VM is on it.
    #[error("the network {name} is in use by {holder}")]
    InUse {
        /// Which.
        name: String,
        /// The VM.
        holder: String,
    },
    /// Every address is a member's.
    #[error("the network {0} is full: it has 254 members")]
    Full(String),
    /// There are as many as can be.
    #[error("there are 255 networks, and no addresses for another one")]
    TooMany,
    /// Names for others, and no others.
    #[error("a VM has other names on a network of that kind only: --network NAME")]
    AliasWithoutNetwork,
    /// A file cannot be used.
    #[error("cannot {step} {path}")]
    File {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl NetworkError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound(name) => Some(format!(
                "`supermachine network create {name}` makes it, `network ls` lists those there are"
            )),
            Self::InUse { holder, .. } => {
                Some(format!("`supermachine stop {holder}` ends that VM"))
            }
            _ => None,
        }
    }
}
