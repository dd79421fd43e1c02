//! What this host can do, check by check.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, in a word or two: `KVM present`.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found: `/dev/kvm, API version 12`.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub hint: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a limit worth knowing.
    Warning,
    /// No VM can run.
    Failed,
    /// Could not be looked at because something before it failed.
    Skipped,
}
