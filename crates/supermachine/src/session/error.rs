//! Why a session gave no exit.

use proto::session::{Failure, FailureKind};
use rustix::io::Errno;

/// Why a process inside gave no exit. Cheap to clone: every stream of the session reports the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The stream closed before the agent said a word.
    #[error("the agent inside the VM cannot be reached")]
    Unreachable,
    /// The stream closed before the process ended.
    #[error("the connection to the VM broke before the process ended")]
    Cut,
    /// The socket failed.
    #[error("the connection to the VM failed: {0}")]
    Socket(Errno),
    /// The guest said something it may not. A hostile guest can break its own sessions only.
    #[error("the agent inside the VM broke the protocol: {0}")]
    Protocol(&'static str),
    /// The request is over the limit of the protocol.
    #[error("arguments and environment of {0} bytes are over the limit of {max}", max = proto::frame::MAX_PAYLOAD)]
    RequestTooLong(usize),
    /// The guest could not do it.
    #[error("{}", describe(.0))]
    Guest(Failure),
    /// The process wrote more than the caller wanted to collect.
    #[error("the process wrote more than {0} bytes")]
    OutputLimit(usize),
}

impl SessionError {
    /// The exit code a command line shows for it.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Guest(failure) => failure.kind.exit_code(),
            Self::RequestTooLong(_) => FailureKind::TooLong.exit_code(),
            _ => 125,
        }
    }
}

fn describe(failure: &Failure) -> String {
    let context = &failure.context;
    let reason = match (failure.kind, failure.errno) {
        (FailureKind::NotFound, _) => "not found in the image".to_owned(),
        (FailureKind::UnknownUser, 0) => "no such user or group in the image".to_owned(),
        (FailureKind::Version, _) => "the guest is of another release than this program".to_owned(),
        (_, 0) => return context.clone(),
        (_, errno) => std::io::Error::from_raw_os_error(errno).to_string(),
    };
    format!("{context}: {reason}")
}
