//! Row 6: a clean VM from a warm pool, an exec in it, and its way back.

use super::Bench;
use super::exec::{ask, summary};
use super::options::Price;
use super::row::{Budget, Limit, Measured, Named};
use anyhow::Result;

/// What the host's side may add to the guest's own fork and exec.
const ADDED_MS: f64 = 8.0;
const FACTOR: f64 = 1.5;

/// A pool of two to four VMs.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let answer = ask(
        bench,
        "pool_cycle",
        "busybox",
        bench.options.runs(Price::Cheap),
    )?;
    let ours = summary(&answer, "cycle_us")?;
    let inside = summary(&answer, "inside_us")?;
    let named = |name: &str, key: &str| -> Result<Named> {
        Ok(Named {
            name: name.to_owned(),
            summary: summary(&answer, key)?,
        })
    };
    Ok(Measured {
        limits: vec![Limit {
            name: "p50, ms, against 1.5 times the guest's own fork and exec plus 8",
            value: ours.p50,
            at_most: FACTOR.mul_add(inside.p50, ADDED_MS),
        }],
        ours,
        peer: Some(Named {
            name: "fork + exec + wait inside the guest".to_owned(),
            summary: inside,
        }),
        budget: Budget::LimitsOnly,
        also: vec![
            named("acquire", "acquire_us")?,
            named("the first exec by the caller in that VM", "exec_us")?,
            named("release", "release_us")?,
            named("acquire without a pause between cycles", "hurried_acquire_us")?,
            named("a cycle without a pause between them", "hurried_cycle_us")?,
        ],
        notes: vec![
            "a check-out of a pool is not a start: what the pool does ahead of time and behind the caller's back is in \
             the figures without a pause, where the caller waits for it"
                .to_owned(),
        ],
        plot: None,
    })
}
