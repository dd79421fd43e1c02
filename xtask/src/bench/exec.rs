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

/// One warm VM of the busybox image.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let mut build = workspace::cargo();
    build
        .args(["build", "--release", "--package", "testkit", "--example"])
        .arg(PROGRAM);
    build.checked()?;
    let program = workspace::target()?.join("release/examples").join(PROGRAM);
    let image = images::ensure([images::find("busybox")?])?.remove(0);
    let home = tempfile::tempdir()?;
    let mut measurer = Command::new(program);
    measurer
        .env("SUPERMACHINE_HOME", home.path())
        .env("SUPERMACHINE_LIBEXEC", &bench.programs.dir)
        .arg(format!("oci:{}", image.display()))
        .arg(bench.options.runs(Price::Cheap).to_string());
    let text = measurer.text()?;
    let answer: Value =
        serde_json::from_str(&text).with_context(|| format!("{PROGRAM} said {text}"))?;
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
    })
}

fn summary(answer: &Value, key: &str) -> Result<Summary> {
    let values: Vec<f64> = answer[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .map(|us| us / 1e3)
        .collect();
    if values.is_empty() {
        anyhow::bail!("{PROGRAM} reports no {key}");
    }
    Ok(Summary::of(values))
}
