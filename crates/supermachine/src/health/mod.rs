//! Whether a workload is well, as its image or its caller says how to ask: Docker's HEALTHCHECK.
//!
//! The supervisor runs the test inside, like any exec, from a thread of its own; what it finds is written to the
//! record by the supervisor's thread.

mod monitor;
mod state;

pub(crate) use monitor::Monitor;
pub use state::{Health, Probe};

use crate::bytes::ByteString;
use crate::config::{HealthConfig, HealthWish};
use image::{HealthTest, Healthcheck};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How and how often to ask. Docker's defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) argv: Vec<ByteString>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// How long failures do not count after the start.
    pub(crate) start_period: Duration,
    /// Between two tests during that time.
    pub(crate) start_interval: Duration,
    /// Failures in a row until the workload counts as unwell.
    pub(crate) retries: u32,
}

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

impl Check {
    /// The image's with the caller's changes; `None` without a test.
    pub(crate) fn resolve(
        image: Option<&Healthcheck>,
        shell: &[String],
        wish: &HealthWish,
    ) -> Option<Self> {
        let own = match wish {
            HealthWish::Off => return None,
            HealthWish::Changed(own) => own,
        };
        let argv = match (&own.command, image.map(|image| &image.test)) {
            (Some(line), _) => shell_command(shell, line),
            (None, None | Some(HealthTest::Disabled)) => return None,
            (None, Some(HealthTest::Shell(line))) => shell_command(shell, line),
            (None, Some(HealthTest::Command(words))) => {
                words.iter().map(|word| word.as_str().into()).collect()
            }
        };
        let of = |own: Option<Duration>, image: Option<Duration>, default| {
            own.or(image).unwrap_or(default)
        };
        let said = |field: fn(&Healthcheck) -> Option<Duration>| image.and_then(field);
        Some(Self {
            argv,
            interval: of(own.interval, said(|image| image.interval), INTERVAL),
            timeout: of(own.timeout, said(|image| image.timeout), TIMEOUT),
            start_period: of(
                own.start_period,
                said(|image| image.start_period),
                Duration::ZERO,
            ),
            start_interval: of(
                own.start_interval,
                said(|image| image.start_interval),
                START_INTERVAL,
            ),
            retries: own
                .retries
                .or(image.and_then(|image| image.retries))
                .unwrap_or(RETRIES),
        })
    }
}

fn shell_command(shell: &[String], line: &str) -> Vec<ByteString> {
    let mut argv: Vec<ByteString> = if shell.is_empty() {
        vec!["/bin/sh".into(), "-c".into()]
    } else {
        shell.iter().map(|word| word.as_str().into()).collect()
    };
    argv.push(line.into());
    argv
}

/// Changes to the image's check, and their absence.
pub(crate) fn changes(wish: &mut HealthWish) -> &mut HealthConfig {
    if let HealthWish::Off = wish {
        *wish = HealthWish::default();
    }
    match wish {
        HealthWish::Changed(own) => own,
        HealthWish::Off => unreachable!("it was replaced above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> Healthcheck {
        let config = serde_json::json!({"config": {"Healthcheck": {"Test": test, "Retries": 5, "Timeout": 2_000_000_000_u64}}});
        let config = image::ImageConfig::parse(config.to_string().as_bytes()).unwrap();
        config.healthcheck.unwrap()
    }

    #[test]
    fn the_callers_word_counts_before_the_images_and_dockers_defaults_come_last() {
        let shell = ["/bin/bash".to_owned(), "-ec".to_owned()];
        let own = HealthConfig {
            command: Some("true".into()),
            retries: Some(1),
            ..HealthConfig::default()
        };
        let check = Check::resolve(
            Some(&image(&["CMD", "probe", "x"])),
            &shell,
            &HealthWish::Changed(own),
        );
        let check = check.unwrap();
        assert_eq!(
            check.argv,
            ["/bin/bash", "-ec", "true"].map(ByteString::from)
        );
        assert_eq!((check.retries, check.interval), (1, INTERVAL));
        assert_eq!(check.timeout, Duration::from_secs(2));

        let resolve = |test: &[&str], wish| Check::resolve(Some(&image(test)), &[], wish);
        let none = HealthWish::default();
        let argv = |check: Option<Check>| check.map(|check| check.argv);
        assert_eq!(
            argv(resolve(&["CMD", "probe", "x"], &none)).unwrap(),
            ["probe", "x"].map(ByteString::from)
        );
        assert_eq!(
            argv(resolve(&["CMD-SHELL", "a | b"], &none)).unwrap(),
            ["/bin/sh", "-c", "a | b"].map(ByteString::from)
        );
        assert_eq!(resolve(&["NONE"], &none), None);
        assert_eq!(resolve(&["CMD", "probe"], &HealthWish::Off), None);
        assert_eq!(Check::resolve(None, &[], &none), None);
    }
}
