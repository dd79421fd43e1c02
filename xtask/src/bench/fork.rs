//! Row 7: a fork of a running VM.

use super::Bench;
use super::exec::{ask, summary};
use super::options::Price;
use super::row::{Budget, Limit, Measured, Named};
use anyhow::Result;

/// What row 3 allows from a restore to the first output.
const FIRST_EXEC_MS: f64 = 30.0;

/// A VM of 256 MiB that has written 64 of them.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let rounds = bench.options.runs(Price::Cheap);
    let answer = ask(bench, "fork_costs", "python3", rounds)?;
    let named = |name: &str, key: &str| -> Result<Named> {
        Ok(Named {
            name: name.to_owned(),
            summary: summary(&answer, key)?,
        })
    };
    let (fork, first) = (
        summary(&answer, "fork_us")?,
        summary(&answer, "first_exec_us")?,
    );
    Ok(Measured {
        ours: summary(&answer, "held_us")?,
        peer: None,
        budget: Budget::Value(10.0),
        limits: vec![Limit {
            name: "fork and the copy's first exec together, p50, ms",
            value: fork.p50 + first.p50,
            at_most: FIRST_EXEC_MS,
        }],
        also: vec![
            named("longest gap during an exec of `true` instead", "exec_us")?,
            named("fork of one copy, until it has its identity", "fork_us")?,
            named("the copy's first exec", "first_exec_us")?,
        ],
        notes: vec![
            "the longest time in which a busy loop of the original did not run, by its own clock: freezing, the stopped \
             vCPU and waiting for a CPU of the host are all in it; the copy runs the same loop"
                .to_owned(),
        ],
        plot: None,
    })
}
