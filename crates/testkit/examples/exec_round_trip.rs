//! What an exec costs, for `cargo xtask bench 10`: `exec_round_trip IMAGE ROUNDS` starts one VM of an image that has
//! a shell and prints JSON with the microseconds of
//!
//! - `round_trip_us`: [`supermachine::Vm::exec`] of `true`, by the host's clock,
//! - `program_us`: the part of it from start to end of the program, by the guest's clock,
//! - `inside_us`: fork, exec and wait of the same program by a shell inside, by the guest's clock.

#![forbid(unsafe_code)]

use std::time::Instant;
use supermachine::{Error, Runtime, Vm, VmConfig};

/// Round trips in a round.
const TRIPS: usize = 10;
/// Programs the shell inside runs in a round.
const FORKS: u32 = 20;

#[derive(Default)]
struct Figures {
    round_trip_us: Vec<f64>,
    program_us: Vec<f64>,
    inside_us: Vec<f64>,
}

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let usage = "exec_round_trip IMAGE ROUNDS";
    let reference = words.next().expect(usage);
    let rounds: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .expect(usage);
    let vm = Runtime::new()?.pull(&reference)?.start(&VmConfig::new())?;
    // What is run first is read from the disk; nobody calls such a VM warm.
    round(&vm)?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        let taken = round(&vm)?;
        figures.round_trip_us.extend(taken.round_trip_us);
        figures.program_us.extend(taken.program_us);
        figures.inside_us.extend(taken.inside_us);
    }
    vm.kill()?;
    println!(
        "{}",
        serde_json::json!({
            "round_trip_us": figures.round_trip_us,
            "program_us": figures.program_us,
            "inside_us": figures.inside_us,
        })
    );
    Ok(())
}

/// Both ways in turn, so that whatever else the host does falls on both.
fn round(vm: &Vm) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    for _ in 0..TRIPS {
        let began = Instant::now();
        let output = vm.exec(["true"])?;
        figures
            .round_trip_us
            .push(began.elapsed().as_secs_f64() * 1e6);
        assert!(output.success(), "true ended with {:?}", output.status());
        figures.program_us.push(output.exit.duration_us as f64);
    }
    let spent = loop_us(vm, "/bin/true")? - loop_us(vm, ":")?;
    figures.inside_us.push(spent / f64::from(FORKS));
    Ok(figures)
}

/// How long a shell inside takes to run a command over and over.
fn loop_us(vm: &Vm, command: &str) -> Result<f64, Error> {
    let script = format!("i=0; while [ $i -lt {FORKS} ]; do {command}; i=$((i+1)); done");
    let output = vm.exec(["/bin/sh", "-c", &script])?;
    assert!(
        output.success(),
        "the loop ended with {:?}",
        output.status()
    );
    Ok(output.exit.duration_us as f64)
}
