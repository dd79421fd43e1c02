//! Flags about the life of a VM, resolved.

use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use crate::durations;
use crate::environment;
use supermachine::{RestartPolicy, VmConfig};

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
    for (name, value) in environment::labels(&life.label_file, &life.label)? {
        config = config.label(name, value);
    }
    Ok(config)
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
