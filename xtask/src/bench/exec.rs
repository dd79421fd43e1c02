//! Row 10: an exec from the host against fork and exec inside the guest.
//!
//! The round trip goes through the library, in a program of its own (`crates/testkit/examples/exec_round_trip.rs`):
//! xtask is built before everything else and does not wait for the library.

use super::Bench;
use super::options::Price;
use super::row::{Budget, Measured, Named};
use super::stats::Summary;
use crate::command::Run;
use crate::{images, workspace};
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;

const PROGRAM: &str = "exec_round_trip";

/// Builds an example of testkit that measures through the library, and lets it measure with a test image.
pub(super) fn ask(bench: &Bench, example: &str, image: &str, runs: usize) -> Result<Value> {
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--package", "testkit", "--example"])
        .arg(example);
    build.checked()?;
    let program = workspace::target()?.join("release/examples").join(example);
    let image = images::ensure([images::find(image)?])?.remove(0);
    let home = tempfile::tempdir()?;
    let mut measurer = Command::new(program);
    measurer
        .env("SUPERMACHINE_HOME", home.path())
        .env("SUPERMACHINE_LIBEXEC", &bench.programs.dir)
        .arg(format!("oci:{}", image.display()))
        .arg(runs.to_string());
    let text = measurer.text()?;
    serde_json::from_str(&text).with_context(|| format!("{example} said {text}"))
}

/// One warm VM of the busybox image.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let answer = ask(bench, PROGRAM, "busybox", bench.options.runs(Price::Cheap))?;
    let named = |name: &str, key: &str| -> Result<Named> {
        Ok(Named {
            name: name.to_owned(),
            summary: summary(&answer, key)?,
        })
    };
    Ok(Measured {
        ours: summary(&answer, "round_trip_us")?,
        peer: Some(named("fork + exec + wait inside the guest", "inside_us")?),
        budget: Budget::Ratio(1.5),
        limits: Vec::new(),
        also: vec![named(
            "of the round trip, start to end of the program by the guest's clock",
            "program_us",
        )?],
        notes: vec![
            "inside: a shell's loop over /bin/true less the same loop over `:`; the round trip also looks `true` up in \
             PATH; both sides have run before, so nothing is read from a disk; the guest's clock counts microseconds"
                .to_owned(),
        ],
        plot: None,
    })
}

pub(super) fn summary(answer: &Value, key: &str) -> Result<Summary> {
    let values: Vec<f64> = answer[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .map(|us| us / 1e3)
        .collect();
    if values.is_empty() {
        anyhow::bail!("the measuring program reports no {key}");
    }
    Ok(Summary::of(values))
}
