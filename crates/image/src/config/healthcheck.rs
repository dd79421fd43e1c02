//! Docker's health check, which the OCI image specification does not know.
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// How and how often to ask a workload whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// What to run.
    pub test: HealthTest,
    /// Between two tests.
    pub interval: Option<Duration>,
    /// How long one test may take.
    pub timeout: Option<Duration>,
    /// How long failures do not count after the start.
    pub start_period: Option<Duration>,
    /// Between two tests during the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row until the workload counts as unwell.
    pub retries: Option<u32>,
}

/// The test of a [`Healthcheck`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthTest {
    /// Health checks of the base image are switched off.
    Disabled,
    /// A program and its arguments.
    Command(Vec<String>),
    /// A command line for the image's shell.
    Shell(String),
}

impl Healthcheck {
    /// `None` where there is no usable test: a broken health check must not keep an image from running.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        let words: Option<Vec<&str>> = value
            .get("Test")?
            .as_array()?
            .iter()
            .map(Value::as_str)
            .collect();
        let test = match words?.as_slice() {
            ["NONE"] => HealthTest::Disabled,
            ["CMD", program @ ..] if !program.is_empty() => {
                HealthTest::Command(program.iter().map(|&word| word.to_owned()).collect())
            }
            ["CMD-SHELL", line] => HealthTest::Shell((*line).to_owned()),
            _ => return None,
        };
        // Go writes durations as nanoseconds; 0 stands for the default.
        let duration = |field: &str| {
            let nanoseconds = value.get(field)?.as_u64()?;
            (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
        };
        let retries = value
            .get("Retries")
            .and_then(Value::as_u64)
            .and_then(|count| u32::try_from(count).ok());
        Some(Self {
            test,
            interval: duration("Interval"),
            timeout: duration("Timeout"),
            start_period: duration("StartPeriod"),
            start_interval: duration("StartInterval"),
            retries: retries.filter(|&count| count > 0),
        })
    }
}
