//! What KVM can refuse.

use kvm_ioctls::Error as Errno;

/// A step that KVM, or the host in front of it, refused.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// There is no /dev/kvm.
    #[error(
        "/dev/kvm does not exist: enable virtualization in the firmware and load the kvm module"
    )]
    Absent,
    /// /dev/kvm is there and may not be opened.
    #[error(
        "no permission to open /dev/kvm: add this user to the group that owns it (often `kvm`) and log in again"
    )]
    Denied,
    /// /dev/kvm cannot be opened for another reason.
    #[error("cannot open /dev/kvm: {0}")]
    Open(Errno),
    /// An interface that is not the one of every KVM since 2007.
    #[error("KVM speaks interface version {0}, not 12")]
    ApiVersion(i32),
    /// The host's KVM is too old or too small.
    #[error("this host's KVM lacks {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A saved state that does not fit this host.
    #[error("{0}")]
    State(String),
    /// An operation failed.
    #[error("KVM refused to {step}: {source}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: Errno,
    },
}

impl KvmError {
    pub(super) fn open(source: Errno) -> Self {
        match source.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Self::Absent,
            libc::EACCES | libc::EPERM => Self::Denied,
            _ => Self::Open(source),
        }
    }

    pub(super) const fn step(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Step { step, source }
    }
}
