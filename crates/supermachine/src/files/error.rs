//! What can go wrong with files of a VM.

use crate::session::SessionError;
use proto::CodecError;
use proto::session::Failure;
use std::io;

/// Why something was not done with files of a VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The guest could not do it.
    #[error("{}", SessionError::Guest(.0.clone()))]
    Guest(Failure),
    /// The worker inside ended without a word.
    #[error("the worker in the VM that was to do it ended with code {0}")]
    Died(i32),
    /// The worker inside was killed for want of memory.
    #[error("the memory of the VM ran out")]
    OutOfMemory,
    /// More than is kept in memory.
    #[error("more than {0} bytes, the most that is read at once")]
    TooBig(u64),
    /// The guest's answer is none.
    #[error("the VM's answer is none")]
    Nonsense(#[source] CodecError),
    /// The connection broke.
    #[error("the connection to the VM broke")]
    Stream(#[source] io::Error),
    /// What was to be written could not be read.
    #[error("cannot read what is to be copied")]
    Input(#[source] io::Error),
    /// A tree on this side could not be packed or unpacked.
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    /// A path on this side.
    #[error("cannot {doing} {path}")]
    Local {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Places that do not fit together.
    #[error("{0}")]
    Place(String),
}

impl FilesError {
    /// The reason as the standard library sorts them, where the kernel gave one.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Guest(failure) if failure.errno != 0 => {
                io::Error::from_raw_os_error(failure.errno).kind()
            }
            Self::Stream(error) | Self::Input(error) | Self::Local { source: error, .. } => {
                error.kind()
            }
            Self::Tree(error) => error.errno().map_or(io::ErrorKind::InvalidData, |errno| {
                io::Error::from_raw_os_error(errno).kind()
            }),
            _ => io::ErrorKind::Other,
        }
    }

    /// Takes an error of ours out of the stream that carried it.
    pub(super) fn from_stream(error: io::Error) -> crate::Error {
        match error.downcast::<crate::Error>() {
            Ok(error) => error,
            Err(error) => Self::Stream(error).into(),
        }
    }
}
