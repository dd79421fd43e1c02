//! What the last tests found.

use super::Check;
use crate::time::rfc3339;
use proto::happening::HealthStatus;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Tests that are remembered, and how much of what each wrote: Docker's figures.
const PROBES: usize = 5;
const OUTPUT: usize = 4096;

/// Whether a workload is well, and the last tests of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row that count.
    pub failing_streak: u32,
    /// The last tests, the oldest first.
    pub probes: Vec<Probe>,
}

/// One test of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Probe {
    /// When it began, as RFC 3339 has it.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// 0 for well; -1 for a test that could not be run or took too long.
    pub exit_code: i32,
    /// What it wrote, or why it gave no answer.
    pub output: String,
}

impl Probe {
    pub(super) fn new(start: SystemTime, exit_code: i32, output: &[u8]) -> Self {
        let mut output = String::from_utf8_lossy(output).into_owned();
        output.truncate(output.floor_char_boundary(OUTPUT));
        Self {
            start: rfc3339(start),
            end: rfc3339(SystemTime::now()),
            exit_code,
            output,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            status: HealthStatus::Starting,
            failing_streak: 0,
            probes: Vec::new(),
        }
    }
}

impl Health {
    /// Whether failures do not count yet, so long after the start.
    pub(super) fn is_in_grace(&self, check: &Check, age: Duration) -> bool {
        self.status == HealthStatus::Starting && age < check.start_period
    }

    /// How long to the next test, so long after the start.
    pub(super) fn pause(&self, check: &Check, age: Duration) -> Duration {
        if self.is_in_grace(check, age) {
            check.start_interval
        } else {
            check.interval
        }
    }

    /// Takes the result of a test that was made so long after the start.
    pub(super) fn note(&mut self, check: &Check, age: Duration, probe: Probe) {
        if probe.exit_code == 0 {
            self.status = HealthStatus::Healthy;
            self.failing_streak = 0;
        } else if !self.is_in_grace(check, age) {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.probes.len() == PROBES {
            self.probes.remove(0);
        }
        self.probes.push(probe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthStatus::{Healthy, Starting, Unhealthy};

    fn check() -> Check {
        let seconds = Duration::from_secs;
        Check {
            argv: vec!["probe".into()],
            interval: seconds(30),
            timeout: seconds(30),
            start_period: seconds(60),
            start_interval: seconds(5),
            retries: 2,
        }
    }

    #[test]
    fn a_verdict_needs_retries_failures_in_a_row_after_the_start_period() {
        let (mut health, check) = (Health::default(), check());
        let mut verdicts = Vec::new();
        for (age, code) in [
            (5, 1),
            (10, 1),
            (61, 1),
            (90, 0),
            (120, 1),
            (150, -1),
            (180, 0),
        ] {
            let age = Duration::from_secs(age);
            health.note(&check, age, Probe::new(SystemTime::now(), code, b"x"));
            verdicts.push((health.status, health.failing_streak));
        }
        assert_eq!(
            verdicts,
            [
                (Starting, 0),
                (Starting, 0),
                (Starting, 1),
                (Healthy, 0),
                (Healthy, 1),
                (Unhealthy, 2),
                (Healthy, 0)
            ]
        );
        assert_eq!(health.probes.len(), PROBES);
    }

    #[test]
    fn tests_come_closer_together_in_the_start_period_until_one_succeeds() {
        let (mut health, check) = (Health::default(), check());
        let young = Duration::from_secs(1);
        assert_eq!(health.pause(&check, young), check.start_interval);
        health.note(&check, young, Probe::new(SystemTime::now(), 0, b""));
        assert_eq!(health.pause(&check, young), check.interval);
        assert_eq!(
            Health::default().pause(&check, Duration::from_secs(60)),
            check.interval
        );
    }

    #[test]
    fn output_is_bounded_between_characters() {
        let probe = Probe::new(SystemTime::now(), 1, "ä".repeat(5000).as_bytes());
        assert_eq!(probe.output.len(), OUTPUT);
    }
}
