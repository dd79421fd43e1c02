//! What is said of a VM's life from outside: labels, and what happens when it has ended.

use super::VmConfig;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a VM with a supervisor of its own ([`crate::detached`]) is started again after its end. One that was asked to
/// end stays ended. A VM of this process never is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its workload ended with another code than 0, or the VM failed.
    OnFailure {
        /// How often at most; without, as often as it takes.
        most: Option<u32>,
    },
    /// Always.
    Always,
    /// As [`Self::Always`]: nothing starts VMs when the host starts, so there is nothing to stop it from.
    UnlessStopped,
}

impl RestartPolicy {
    /// Whether a VM that ended by itself, after so many restarts, is started again.
    pub(crate) const fn applies(self, success: bool, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { most: None } => !success,
            Self::OnFailure { most: Some(most) } => !success && restarts < most,
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

/// The pause before a restart: 100 ms, twice as long each time, a minute at most; from the start again after a life of
/// 10 s. These are Docker's.
#[derive(Debug, Default)]
pub(crate) struct BackOff(Duration);

impl BackOff {
    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(60);
    const STEADY: Duration = Duration::from_secs(10);

    /// The next pause, after a life of this length.
    pub(crate) fn next(&mut self, lived: Duration) -> Duration {
        self.0 = if self.0.is_zero() || lived >= Self::STEADY {
            Self::FIRST
        } else {
            self.0.saturating_mul(2).min(Self::MOST)
        };
        self.0
    }
}

impl VmConfig {
    /// When the VM is started again.
    pub const fn restart_policy(&self) -> RestartPolicy {
        self.restart
    }

    /// Puts a label on the VM, over one of the image's of the same name.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// When the VM is started again after its end.
    pub const fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_looks_at_success_and_at_the_number_of_restarts() {
        let limited = RestartPolicy::OnFailure { most: Some(2) };
        for (policy, success, restarts, again) in [
            (RestartPolicy::No, false, 0, false),
            (limited, true, 0, false),
            (limited, false, 0, true),
            (limited, false, 1, true),
            (limited, false, 2, false),
            (RestartPolicy::OnFailure { most: None }, false, 9999, true),
            (RestartPolicy::Always, true, 9999, true),
            (RestartPolicy::UnlessStopped, true, 0, true),
        ] {
            assert_eq!(policy.applies(success, restarts), again, "{policy:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_steady_life() {
        let mut back_off = BackOff::default();
        let pauses: Vec<_> = (0..12)
            .map(|_| back_off.next(Duration::from_secs(1)).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000
            ]
        );
        assert_eq!(back_off.next(Duration::from_secs(10)).as_millis(), 100);
    }
}
