//! What can be wrong with a saved VM.

use super::archive::ArchiveError;
use ::snapshot::Digest;
use ::snapshot::manifest::ManifestError;
use ::snapshot::memory::MemoryError;
use ::snapshot::state::StateError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a template or a snapshot cannot be made, used or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// No snapshot of this name.
    #[error("no such snapshot: {0}")]
    NotFound(String),
    /// The name is taken.
    #[error("the name {0} is in use by another snapshot")]
    NameTaken(String),
    /// Other snapshots hold what changed since this one.
    #[error("the snapshot {name} is the base of {}", by.join(", "))]
    NeededBy {
        /// Which.
        name: String,
        /// The names of those.
        by: Vec<String>,
    },
    /// What a snapshot builds upon is gone.
    #[error(
        "{path} holds what changed since another saved VM ({base}), which is not there any more"
    )]
    BaseMissing {
        /// The snapshot.
        path: PathBuf,
        /// Digest of its base's manifest.
        base: Digest,
    },
    /// A chain that is too long, or no chain at all.
    #[error("{path} has more than {max} layers")]
    TooManyLayers {
        /// The snapshot.
        path: PathBuf,
        /// The most there may be.
        max: usize,
    },
    /// Another user owns it, or may write to it.
    #[error("{path} is not safe to use: {reason}")]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The manifest cannot be used.
    #[error("{path} cannot be used")]
    Manifest {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// The manifest says something this release does not know of.
    #[error("{path} says nothing this release can use about the {what}")]
    Facts {
        /// Its file.
        path: PathBuf,
        /// About what.
        what: &'static str,
    },
    /// A file has another size than the manifest says.
    #[error("{path} is damaged: it has {found} bytes, and should have {expected}")]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// What the manifest says, or the least it can have.
        expected: u64,
    },
    /// A file has another content than the manifest says.
    #[error("{path} is damaged: its digest is {found}, and should be {expected}")]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// What the manifest says.
        expected: Digest,
    },
    /// The state file is damaged, or of another release.
    #[error("{path} cannot be used")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StateError,
    },
    /// The memory file is damaged.
    #[error("{path} cannot be used")]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: MemoryError,
    },
    /// An exported snapshot.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file cannot be made, read or removed.
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

impl SavedError {
    /// Whether somebody else took it away between two looks.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

pub(super) fn failed<'a, E: Into<io::Error>>(
    step: &'static str,
    path: &'a Path,
) -> impl Fn(E) -> SavedError + 'a {
    move |source| SavedError::File {
        step,
        path: path.to_owned(),
        source: source.into(),
    }
}
