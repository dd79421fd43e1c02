//! What a VM of a pool costs, for the bench: `pool_cycle IMAGE CYCLES [MIN MAX]` takes, uses and gives back VMs of an
//! image that has a shell and prints JSON with the microseconds of
//!
//! - `acquire_us`: [`supermachine::Pool::acquire`], with VMs ready,
//! - `exec_us`: [`supermachine::Vm::exec`] of `true`, the first in that VM,
//! - `release_us`: [`supermachine::PooledVm::release`],
//! - `cycle_us`: all three,
//! - `inside_us`: fork, exec and wait of the same program by a shell inside, by the guest's clock, in another VM,
//! - `hurried_acquire_us`: [`supermachine::Pool::acquire`] when the next one is asked for at once, so that each has to be
//!   made first: what a replacement costs,
//!
//! and what this process has at the start and at the end: `rss_kib`, `descriptors`, `threads`.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};
use supermachine::{Error, Pool, Runtime, Vm};

/// Longer than making a VM takes, the first template included.
const LONG: Duration = Duration::from_secs(120);
/// Rounds of the shell inside.
const ROUNDS: usize = 30;
/// Programs the shell inside runs in a round.
const FORKS: u32 = 20;

#[derive(Default)]
struct Figures {
    acquire: Vec<f64>,
    exec: Vec<f64>,
    release: Vec<f64>,
    cycle: Vec<f64>,
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = "pool_cycle IMAGE CYCLES [MIN MAX]";
    let reference = words.first().expect(usage);
    let number = |index: usize, default: usize| {
        let word = words.get(index);
        word.map_or(default, |word| word.parse().expect(usage))
    };
    let (cycles, min, max) = (number(1, 100), number(2, 2), number(3, 4));
    let image = Runtime::new()?.pull(reference)?;
    let pool = image
        .pool()
        .min(min)
        .max(max)
        .acquire_timeout(LONG)
        .build()?;
    let vm = pool.acquire()?;
    let inside = (0..ROUNDS)
        .map(|_| inside_us(&vm))
        .collect::<Result<Vec<_>, _>>()?;
    vm.release();
    let before = holdings();
    let mut warm = Figures::default();
    for _ in 0..cycles {
        // As a caller finds it who does not come more often than VMs can be made.
        pool.wait_ready(LONG)?;
        cycle(&pool, &mut warm)?;
    }
    let mut hurried = Figures::default();
    for _ in 0..cycles {
        cycle(&pool, &mut hurried)?;
    }
    let stats = pool.stats();
    println!(
        "{}",
        serde_json::json!({
            "acquire_us": warm.acquire,
            "exec_us": warm.exec,
            "release_us": warm.release,
            "cycle_us": warm.cycle,
            "inside_us": inside,
            "hurried_acquire_us": hurried.acquire,
            "hurried_cycle_us": hurried.cycle,
            "made": stats.made,
            "failed": stats.failed,
            "before": before,
            "after": holdings(),
        })
    );
    Ok(())
}

fn cycle(pool: &Pool, figures: &mut Figures) -> Result<(), Error> {
    let us = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e6;
    let began = Instant::now();
    let vm = pool.acquire()?;
    let acquired = Instant::now();
    let output = vm.exec(["true"])?;
    let executed = Instant::now();
    vm.release();
    let released = Instant::now();
    assert!(output.success(), "true ended with {:?}", output.status());
    figures.acquire.push(us(began, acquired));
    figures.exec.push(us(acquired, executed));
    figures.release.push(us(executed, released));
    figures.cycle.push(us(began, released));
    Ok(())
}

/// What a shell inside needs for the same program.
fn inside_us(vm: &Vm) -> Result<f64, Error> {
    let time = |command: &str| -> Result<f64, Error> {
        let script = format!("i=0; while [ $i -lt {FORKS} ]; do {command}; i=$((i+1)); done");
        let output = vm.exec(["/bin/sh", "-c", &script])?;
        Ok(output.exit.duration_us as f64)
    };
    // What is run first is read from the disk.
    time("/bin/true")?;
    Ok((time("/bin/true")? - time(":")?) / f64::from(FORKS))
}

/// What this process has.
fn holdings() -> serde_json::Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    serde_json::json!({
        "rss_kib": field("VmRSS:"),
        "threads": field("Threads:"),
        "descriptors": descriptors,
    })
}
