//! The one error a VMM dies of: which step, and what to tell the user.

use crate::arch::BootError;
use crate::hypervisor::KvmError;
use proto::control::{End, Step};
use std::fmt::Display;

/// A failure that ends the VM.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct VmmError {
    /// The step that failed.
    pub step: Step,
    /// What happened, and what to do about it.
    pub message: String,
}

impl VmmError {
    /// A failure of `step`.
    pub fn new(step: Step, message: impl Into<String>) -> Self {
        Self {
            step,
            message: message.into(),
        }
    }

    /// For `map_err`: a failure of `step`, put as "`context`: error".
    pub fn at<E: Display>(step: Step, context: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self {
            step,
            message: format!("{context}: {error}"),
        }
    }

    /// As the library hears it.
    pub fn into_end(self) -> End {
        End::Failed {
            step: self.step,
            message: self.message,
        }
    }
}

impl From<KvmError> for VmmError {
    fn from(error: KvmError) -> Self {
        let step = match error {
            KvmError::Absent | KvmError::Denied | KvmError::Open(_) => Step::OpenKvm,
            _ => Step::CreateVm,
        };
        Self::new(step, error.to_string())
    }
}

impl From<BootError> for VmmError {
    fn from(error: BootError) -> Self {
        Self::new(Step::Kernel, error.to_string())
    }
}
