//! What a fork costs, for `cargo xtask bench 7`: `fork_costs IMAGE ROUNDS` starts one VM of 256 MiB of an image that has
//! Python, fills 64 MiB of it, and prints JSON with the microseconds of
//!
//! - `held_us`: the longest time in which a busy loop inside did not run while a fork was made, by the guest's clock,
//! - `exec_us`: the same during an exec of `true`, for comparison,
//! - `fork_us`: [`supermachine::Vm::fork`] of one copy, by the host's clock,
//! - `first_exec_us`: the first exec of `true` in the copy.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::time::Instant;
use supermachine::{Error, ExecStdin, Memory, Runtime, VmConfig};

/// Answers each line with the longest gap since the last one.
const WATCH: &str = "
import select, sys, time
held = bytearray(b'\\x01') * (64 << 20)
poll = select.poll()
poll.register(0, select.POLLIN)
clock, gap = time.monotonic_ns, 0
print('ready', flush=True)
last = clock()
while True:
    for _ in range(200):
        now = clock()
        gap = max(gap, now - last)
        last = now
    if poll.poll(0):
        if not sys.stdin.readline():
            break
        print(gap // 1000, flush=True)
        gap, last = 0, clock()
";

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let usage = "fork_costs IMAGE ROUNDS";
    let reference = words.next().expect(usage);
    let rounds = words.next().and_then(|word| word.parse().ok());
    let rounds: u32 = rounds.expect(usage);
    let memory = Memory::from_bytes(256 << 20).expect("256 MiB are a VM's memory");
    let config = VmConfig::new().memory(memory);
    let vm = Runtime::new()?.pull(&reference)?.start(&config)?;
    let watch = vm.exec_builder().argv(["python3", "-c", WATCH]);
    let mut watch = watch.stdin(ExecStdin::Stream).spawn()?;
    let mut stdin = watch.stdin.take().expect("asked for");
    let mut answers = BufReader::new(watch.stdout.take().expect("there always is one")).lines();
    let mut answer = || -> String {
        let line = answers.next().expect("the watch goes on");
        line.expect("its output can be read")
    };
    assert_eq!(answer(), "ready");
    let mut gap = || -> f64 {
        stdin.write_all(b"\n").expect("the watch reads");
        answer().parse().expect("a number of microseconds")
    };
    let us = |since: Instant| since.elapsed().as_secs_f64() * 1e6;
    let [mut held, mut exec, mut fork, mut first] = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        gap();
        assert!(vm.exec(["true"])?.success());
        exec.push(gap());
        let began = Instant::now();
        let copies = vm.fork(1)?;
        fork.push(us(began));
        held.push(gap());
        let began = Instant::now();
        assert!(copies[0].exec(["true"])?.success());
        first.push(us(began));
        copies[0].kill()?;
    }
    vm.kill()?;
    println!(
        "{}",
        serde_json::json!({
            "held_us": held, "exec_us": exec, "fork_us": fork, "first_exec_us": first,
        })
    );
    Ok(())
}
