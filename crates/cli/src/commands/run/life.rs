//! Flags about the life of a VM, resolved.

use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use crate::{durations, environment, sizes};
use std::time::Duration;
use supermachine::{LogLimits, RestartPolicy, VmConfig};

/// Puts what the flags say into the configuration.
pub fn apply(mut config: VmConfig, life: &args::Life) -> anyhow::Result<VmConfig> {
    if let Some(text) = &life.restart {
        config = config.restart(policy(text)?);
    }
    if let Some(text) = &life.stop_signal {
        let signal = text
            .parse()
            .map_err(|_| refuse("--stop-signal", text, "not a signal"))?;
        config = config.stop_signal(signal);
    }
    if let Some(text) = &life.stop_timeout {
        let grace =
            durations::parse(text).map_err(|error| refuse("--stop-timeout", text, error))?;
        config = config.stop_grace(grace);
    }
    config = health(config, life)?;
    if !life.log_opt.is_empty() {
        config = config.log_limits(log_limits(&life.log_opt)?);
    }
    for (name, value) in environment::labels(&life.label_file, &life.label)? {
        config = config.label(name, value);
    }
    Ok(config)
}

fn health(mut config: VmConfig, life: &args::Life) -> Result<VmConfig, Refusal> {
    if life.no_healthcheck {
        return Ok(config.without_health_check());
    }
    if let Some(line) = &life.health_cmd {
        // As Docker has it: `none` switches the check off.
        config = match line.as_str() {
            "none" => config.without_health_check(),
            line => config.health_command(line),
        };
    }
    type Set = fn(VmConfig, Duration) -> VmConfig;
    let times: [(&str, &Option<String>, Set); 4] = [
        (
            "--health-interval",
            &life.health_interval,
            VmConfig::health_interval,
        ),
        (
            "--health-timeout",
            &life.health_timeout,
            VmConfig::health_timeout,
        ),
        (
            "--health-start-period",
            &life.health_start_period,
            VmConfig::health_start_period,
        ),
        (
            "--health-start-interval",
            &life.health_start_interval,
            VmConfig::health_start_interval,
        ),
    ];
    for (flag, text, set) in times {
        if let Some(text) = text {
            let time = durations::parse(text).map_err(|error| refuse(flag, text, error))?;
            // Docker takes zero for its default.
            if !time.is_zero() {
                config = set(config, time);
            }
        }
    }
    if let Some(text) = &life.health_retries {
        match text.parse() {
            Ok(0) => {}
            Ok(retries) => config = config.health_retries(retries),
            Err(_) => return Err(refuse("--health-retries", text, "it takes a whole number")),
        }
    }
    Ok(config)
}

fn log_limits(given: &[String]) -> Result<LogLimits, Refusal> {
    let mut limits = LogLimits::DEFAULT;
    for text in given {
        match text.split_once('=') {
            Some(("max-size", size)) => {
                let size = sizes::parse(size).map_err(|error| refuse("--log-opt", text, error))?;
                // An entry of the log is at most 64 KiB.
                if size < 64 << 10 {
                    return Err(refuse("--log-opt", text, "64k at least"));
                }
                limits.max_size = size;
            }
            Some(("max-file", count)) => match count.parse() {
                Ok(count @ 1..=1000) => limits.max_files = count,
                _ => {
                    return Err(refuse("--log-opt", text, "a number of files, 1 to 1000"));
                }
            },
            _ => return Err(refuse("--log-opt", text, "it takes max-size and max-file")),
        }
    }
    Ok(limits)
}

/// `no`, `on-failure`, `on-failure:5`, `always`, `unless-stopped`.
fn policy(text: &str) -> Result<RestartPolicy, Refusal> {
    let (name, most) = match text.split_once(':') {
        Some((name, most)) => (name, Some(most)),
        None => (text, None),
    };
    match (name, most) {
        ("no" | "", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None | Some("0")) => Ok(RestartPolicy::OnFailure { most: None }),
        ("on-failure", Some(most)) => match most.parse() {
            Ok(most) => Ok(RestartPolicy::OnFailure { most: Some(most) }),
            Err(_) => Err(refuse(
                "--restart",
                text,
                "the number of restarts is a whole number",
            )),
        },
        ("no" | "always" | "unless-stopped", Some(_)) => Err(refuse(
            "--restart",
            text,
            "only on-failure takes a number of restarts",
        )),
        _ => Err(refuse(
            "--restart",
            text,
            "it takes no, on-failure[:MAX], always or unless-stopped",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        let on_failure = |most| RestartPolicy::OnFailure { most };
        for (text, expected) in [
            ("no", RestartPolicy::No),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::UnlessStopped),
            ("on-failure", on_failure(None)),
            ("on-failure:0", on_failure(None)),
            ("on-failure:3", on_failure(Some(3))),
        ] {
            assert_eq!(policy(text), Ok(expected), "{text}");
        }
        for text in ["sometimes", "on-failure:x", "on-failure:-1", "always:3"] {
            assert!(policy(text).is_err(), "{text}");
        }
    }
}
