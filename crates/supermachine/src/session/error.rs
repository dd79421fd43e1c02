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
    #[error("arguments, environment and files of {0} bytes are over the limit of {max}", max = proto::frame::MAX_PAYLOAD)]
    RequestTooLong(usize),
    /// The guest could not do it.
    #[error("{}", describe(.0))]
    Guest(Failure),
    /// Somebody canceled it: the process is killed.
    #[error("the process was canceled")]
    Canceled,
    /// The process wrote more than the caller wanted to collect.
    #[error("the process wrote more than {0} bytes")]
    OutputLimit(usize),
}

impl SessionError {
    /// The exit code a command line shows for it.
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Guest(failure) => failure.kind.exit_code(),
            Self::Canceled => 137,
            Self::RequestTooLong(_) => FailureKind::TooLong.exit_code(),
            _ => 125,
        }
    }
}

/// Longer is no help to anybody.
const MAX_CONTEXT: usize = 1000;

/// The guest's words, and the kernel's reason where the guest's have none.
fn describe(failure: &Failure) -> String {
    // Root inside the VM could make the agent say anything, terminal control sequences too.
    let context: String = failure
        .context
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CONTEXT)
        .collect();
    if failure.errno == 0 || context.contains(": ") {
        return context;
    }
    let reason = std::io::Error::from_raw_os_error(failure.errno).to_string();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    format!("{context}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reason_is_added_where_the_guest_gave_none() {
        let say = |context: &str, errno| {
            describe(&Failure {
                kind: FailureKind::NotExecutable,
                context: context.into(),
                errno,
            })
        };
        assert_eq!(
            say("exec /etc: is a directory", 21),
            "exec /etc: is a directory"
        );
        assert_eq!(say("exec /secret", 13), "exec /secret: Permission denied");
        assert_eq!(say("\x1b]0;a\x07b", 0), "]0;ab");
        assert_eq!(
            say("there is no program to run", 0),
            "there is no program to run"
        );
    }
}
