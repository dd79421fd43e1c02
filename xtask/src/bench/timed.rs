//! Running a program and asking GNU time what it took.

use crate::command::{Run, shown};
use anyhow::{Context, Result};
use std::process::Command;
use std::time::{Duration, Instant};

/// What a program took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From before it was started until it was collected.
    pub wall: Duration,
    /// The most memory it held at once (`ru_maxrss`), in KiB.
    pub peak_kib: u64,
}

/// Runs a program to its end, which must be a good one.
pub fn run(command: &Command) -> Result<Took> {
    let report = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("time");
    timed
        .args(["--format=%M", "--output"])
        .arg(report.path())
        .arg(command.get_program())
        .args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(key, value),
            None => timed.env_remove(key),
        };
    }
    let started = Instant::now();
    timed.text()?;
    let wall = started.elapsed();
    let text = std::fs::read_to_string(report.path())?;
    let peak_kib = text
        .trim()
        .parse()
        .with_context(|| format!("time said `{text}` about {}", shown(command)))?;
    Ok(Took { wall, peak_kib })
}
