//! `warm`

use super::image;
use super::process::refuse;
use super::run::plan::Plan;
use crate::args::{self, Refusal};
use crate::durations;
use crate::exit_code;
use crate::output::stdout;
use crate::signals::Relay;
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;
use supermachine::{Error, Image, MainOutput, Ready, Runtime, Snapshot, VmConfig};

/// What is to be made, and when.
struct Wish {
    ready: Ready,
    limit: Duration,
    name: String,
}

/// Starts the workload of an image, waits until it is ready, and writes it down under the name that is printed.
pub fn carry_out(args: args::Warm) -> anyhow::Result<u8> {
    let ready = ready(&args.ready)?;
    let limit = durations::parse_positive(&args.timeout)
        .map_err(|error| refuse("--timeout", &args.timeout, error))?;
    let name = args.name.clone();
    let plan = Plan::resolve(args.into_run())?;
    let wish = Wish {
        ready,
        limit,
        name: name.unwrap_or_else(|| default_name(&plan.image.text)),
    };
    let runtime = super::runtime()?;
    runtime.check_snapshot_name(&wish.name)?;
    let relay = Relay::start().context("cannot receive signals")?;
    let Some(image) = image::obtain(&runtime, &plan.image, &relay)? else {
        return Ok(relay.interrupted().unwrap_or(exit_code::OURS));
    };
    relay.remembers();
    let made = make(
        &image,
        &plan.config.output(MainOutput::LogOnly),
        &wish,
        &relay,
    );
    finish(&runtime, made, &wish.name, &relay)
}

fn make(image: &Image, config: &VmConfig, wish: &Wish, relay: &Relay) -> Result<Snapshot, Error> {
    let vm = Arc::new(image.start(config)?);
    relay.is_for(Arc::clone(&vm) as _);
    let made = vm
        .wait_ready(&wish.ready, wish.limit)
        .and_then(|()| vm.snapshot(&wish.name));
    relay.exits();
    vm.kill()?;
    made
}

/// A signal is the workload's: it ends by it, or was written down with it on its way.
fn finish(
    runtime: &Runtime,
    made: Result<Snapshot, Error>,
    name: &str,
    relay: &Relay,
) -> anyhow::Result<u8> {
    match (made, relay.interrupted()) {
        (Ok(snapshot), None) => stdout::line(snapshot.name()).map(|()| exit_code::SUCCESS),
        (Ok(_), Some(code)) => {
            runtime.remove_snapshot(name)?;
            Ok(code)
        }
        (Err(_), Some(code)) => Ok(code),
        (Err(error), None) => Err(error.into()),
    }
}

fn ready(text: &str) -> Result<Ready, Refusal> {
    text.parse().map_err(|error| refuse("--ready", text, error))
}

/// A snapshot's name for an image: the last part of its reference, the tag included, the digest not.
fn default_name(reference: &str) -> String {
    let named = reference.split('@').next().unwrap_or(reference);
    let named = named.trim_end_matches('/');
    let last = named.rsplit('/').next().unwrap_or(named);
    let name: String = last
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    // A name has two characters at least, and an end.
    match name.len() {
        0 | 1 => format!("warm{name}"),
        _ => name.chars().take(100).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_reference() {
        for (reference, name) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx-1.27"),
            ("ghcr.io/org/app:v1@sha256:00", "app-v1"),
            ("localhost:5000/web", "web"),
            ("oci:/images/web:latest", "web-latest"),
            ("rootfs:./tree/", "tree"),
            ("rootfs:/a/.cache", "cache"),
            ("r", "warmr"),
            ("rootfs:/", "rootfs-"),
        ] {
            assert_eq!(default_name(reference), name, "{reference}");
        }
        assert_eq!(default_name(&"x".repeat(300)).len(), 100);
    }

    #[test]
    fn a_condition_that_is_none_is_refused_by_the_flag() {
        assert_eq!(
            ready("port:80").unwrap_err().message,
            "--ready port:80: \"port:80\" is no condition: listen:PORT, file:PATH, exec:COMMAND and log:REGEX are"
        );
    }
}
