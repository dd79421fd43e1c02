//! Putting what the kernel said into the words of the session protocol.

use crate::sys;
use proto::session::{Failure, FailureKind};
use std::io;

/// A failure that no system call reported.
pub fn failure(kind: FailureKind, context: impl Into<String>) -> Failure {
    Failure {
        kind,
        context: context.into(),
        errno: 0,
    }
}

/// Names what was being done when a system call failed.
pub trait Context<T> {
    /// Turns the error into a failure of this kind.
    fn failing(self, kind: FailureKind, context: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Context<T> for io::Result<T> {
    fn failing(self, kind: FailureKind, context: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            kind,
            context: context(),
            errno: sys::errno(&error),
        })
    }
}

/// Bytes as people read them: what is no text is shown as its escape.
pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
