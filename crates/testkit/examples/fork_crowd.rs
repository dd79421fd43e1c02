//! What many copies cost, for `cargo xtask bench 8`: `fork_crowd IMAGE ROUNDS` starts one VM of an image that has `true`
//! and prints JSON with
//!
//! - `counts`: for each of several numbers of `copies`, `forked_us` ([`supermachine::Vm::fork`]) and `answered_us` (the
//!   same and an exec in each copy),
//! - `lost`: copies that were not made or did not answer,
//! - `each_pss_kib`: what a copy's process holds, its share of what is shared included, when all are idle.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;
use supermachine::{Error, Runtime, Vm, VmConfig};

const COUNTS: [u32; 7] = [1, 2, 5, 10, 25, 50, 100];

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let usage = "fork_crowd IMAGE ROUNDS";
    let reference = words.next().expect(usage);
    let rounds = words.next().and_then(|word| word.parse().ok());
    let rounds: u32 = rounds.expect(usage);
    let vm = Runtime::new()?.pull(&reference)?.start(&VmConfig::new())?;
    assert!(vm.exec(["true"])?.success());
    let mut lost = 0;
    let mut each = 0;
    let mut counts = Vec::new();
    for copies in COUNTS {
        let (mut forked, mut answered) = (Vec::new(), Vec::new());
        // The first makes the programs' pages warm.
        for round in 0..=rounds {
            let began = Instant::now();
            let vms = vm.fork(copies)?;
            let fork = began.elapsed().as_secs_f64() * 1e6;
            let answers = everyone_answers(&vms);
            let all = began.elapsed().as_secs_f64() * 1e6;
            lost += copies as usize - answers;
            if round > 0 {
                forked.push(fork);
                answered.push(all);
            }
            each = pss_kib() / (u64::from(copies) + 1);
        }
        counts.push(serde_json::json!({
            "copies": copies, "forked_us": forked, "answered_us": answered,
        }));
    }
    vm.kill()?;
    println!(
        "{}",
        serde_json::json!({"counts": counts, "lost": lost, "each_pss_kib": each})
    );
    Ok(())
}

/// How many answer, asked by as many threads as there are CPUs.
fn everyone_answers(vms: &[Vm]) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(vms.iter());
    let next = || queue.lock().expect("nobody panics").next();
    std::thread::scope(|scope| {
        let ask = || {
            let answers = std::iter::from_fn(next).map(|vm| vm.exec(["true"]));
            answers
                .filter(|output| output.as_ref().is_ok_and(|output| output.success()))
                .count()
        };
        let asking: Vec<_> = (0..threads).map(|_| scope.spawn(ask)).collect();
        asking
            .into_iter()
            .map(|thread| thread.join().expect("asking"))
            .sum()
    })
}

/// Of all VMMs that have a file of our home open.
fn pss_kib() -> u64 {
    let home = std::env::var_os("SUPERMACHINE_HOME").expect("the bench gives a home");
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let vmms = processes.filter(|entry| {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        name.starts_with("supermachine-vm") && holds(&entry.path(), Path::new(&home))
    });
    vmms.map(|entry| pss_of(&entry.path())).sum()
}

fn holds(process: &Path, home: &Path) -> bool {
    let descriptors = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| target.starts_with(home))
}

fn pss_of(process: &Path) -> u64 {
    let rollup = fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
