//! What can be wrong with a tree or with a stream.

use std::fmt;
use std::io;

/// Why a tree was not packed or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A file of the tree could not be dealt with.
    #[error("{doing} {path}")]
    File {
        /// What was being done.
        doing: Doing,
        /// To what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The stream broke.
    #[error("{0} the archive")]
    Stream(Doing, #[source] io::Error),
    /// The stream ends in the middle.
    #[error("the archive is cut short")]
    CutShort,
    /// The stream is no tar archive, or a damaged one.
    #[error("not a tar archive, or a damaged one: {0}")]
    Malformed(&'static str),
    /// A header that only carries names is longer than anything needs.
    #[error("the archive has a header of {0} bytes; 1 MiB is the most that is read")]
    HeaderTooLong(u64),
    /// An entry of a kind that is not supported.
    #[error("{path}: entries of type {kind:?} are not supported")]
    UnknownKind {
        /// The entry.
        path: String,
        /// Its type in the header.
        kind: char,
    },
    /// A path that leads out of the directory.
    #[error("the archive has the path {0}, which leads out of the directory it is unpacked in")]
    Escapes(String),
    /// An entry beside what was asked for.
    #[error("the archive has {found}, which is not part of {wanted}")]
    NotAskedFor {
        /// The entry.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A directory in the place of something else.
    #[error("cannot overwrite non-directory {0} with directory")]
    DirectoryOverOther(String),
    /// Something else in the place of a directory.
    #[error("cannot overwrite directory {0} with non-directory")]
    OtherOverDirectory(String),
    /// A device node, where none are made.
    #[error("{0} is a device node, and none are made here")]
    Device(String),
    /// More than the caller allows.
    #[error("the archive holds more than {0} bytes, the most that was allowed")]
    TooBig(u64),
}

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Looking at a file.
    Look,
    /// Opening it.
    Open,
    /// Reading it.
    Read,
    /// Making it.
    Make,
    /// Writing its contents.
    Write,
    /// Removing what stood in its place.
    Replace,
    /// Giving it its owner, mode, times and attributes.
    Furnish,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "cannot look at",
            Self::Open => "cannot open",
            Self::Read => "cannot read",
            Self::Make => "cannot make",
            Self::Write => "cannot write",
            Self::Replace => "cannot replace",
            Self::Furnish => "cannot set owner, mode, times or attributes of",
        })
    }
}

impl TreeError {
    /// The system's error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::File { source, .. } | Self::Stream(_, source) => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the other end of the stream has gone.
    pub fn is_broken_stream(&self) -> bool {
        matches!(self, Self::Stream(..) | Self::CutShort)
    }
}

/// Names what was being done to a file.
pub(crate) trait At<T> {
    fn at(self, doing: Doing, path: &[u8]) -> Result<T, TreeError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, doing: Doing, path: &[u8]) -> Result<T, TreeError> {
        self.map_err(|error| TreeError::File {
            doing,
            path: shown(path),
            source: error.into(),
        })
    }
}

/// Bytes as people read them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}
