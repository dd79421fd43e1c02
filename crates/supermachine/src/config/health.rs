//! What a caller says about the image's health check.

use super::VmConfig;
use crate::health;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What becomes of the image's health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HealthWish {
    /// It is not run.
    Off,
    /// It is run with these changes, which may be none.
    Changed(HealthConfig),
}

/// Changes to the image's health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthConfig {
    /// A line for the image's shell.
    pub(crate) command: Option<String>,
    pub(crate) interval: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) start_period: Option<Duration>,
    pub(crate) start_interval: Option<Duration>,
    pub(crate) retries: Option<u32>,
}

impl HealthWish {
    pub(crate) const UNCHANGED: Self = Self::Changed(HealthConfig {
        command: None,
        interval: None,
        timeout: None,
        start_period: None,
        start_interval: None,
        retries: None,
    });
}

impl Default for HealthWish {
    fn default() -> Self {
        Self::UNCHANGED
    }
}

impl VmConfig {
    /// Does not run the image's health check.
    pub fn without_health_check(mut self) -> Self {
        self.health = HealthWish::Off;
        self
    }

    /// Runs this line in the image's shell as the health check, instead of the image's own.
    pub fn health_command(mut self, line: impl Into<String>) -> Self {
        health::changes(&mut self.health).command = Some(line.into());
        self
    }

    /// The time between two health checks.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        health::changes(&mut self.health).interval = Some(interval);
        self
    }

    /// How long one health check may take.
    pub fn health_timeout(mut self, timeout: Duration) -> Self {
        health::changes(&mut self.health).timeout = Some(timeout);
        self
    }

    /// How long failures do not count after the start.
    pub fn health_start_period(mut self, period: Duration) -> Self {
        health::changes(&mut self.health).start_period = Some(period);
        self
    }

    /// The time between two health checks while failures do not count.
    pub fn health_start_interval(mut self, interval: Duration) -> Self {
        health::changes(&mut self.health).start_interval = Some(interval);
        self
    }

    /// Failures in a row until the workload counts as unwell.
    pub fn health_retries(mut self, retries: u32) -> Self {
        health::changes(&mut self.health).retries = Some(retries);
        self
    }
}
