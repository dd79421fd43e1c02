//! What much output of an exec costs, for `cargo xtask bench 11`: `exec_stdout IMAGE ROUNDS` starts one VM of an image
//! that has dd and prints JSON with `gigabyte_us`, the microseconds from the call until 1 GiB has been read and the
//! program's end is known.

#![forbid(unsafe_code)]

use std::io::Read;
use std::time::Instant;
use supermachine::{Error, ExitStatus, Runtime, VmConfig};

const BYTES: usize = 1 << 30;
const SENDER: [&str; 4] = ["dd", "if=/dev/zero", "bs=64k", "count=16384"];

fn main() -> Result<(), Error> {
    let mut words = std::env::args().skip(1);
    let usage = "exec_stdout IMAGE ROUNDS";
    let reference = words.next().expect(usage);
    let rounds = words.next().and_then(|word| word.parse().ok());
    let rounds: u32 = rounds.expect(usage);
    let vm = Runtime::new()?.pull(&reference)?.start(&VmConfig::new())?;
    let mut figures = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    // What is run first is read from the disk.
    for round in 0..=rounds {
        let began = Instant::now();
        let mut child = vm.exec_builder().argv(SENDER).spawn()?;
        let mut stdout = child.stdout.take().expect("there always is one");
        let mut bytes = 0;
        loop {
            match stdout.read(&mut buffer).expect("the output can be read") {
                0 => break,
                count => bytes += count,
            }
        }
        assert_eq!(child.wait()?.status, ExitStatus::Code(0));
        assert_eq!(bytes, BYTES);
        if round > 0 {
            figures.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    vm.kill()?;
    println!("{}", serde_json::json!({ "gigabyte_us": figures }));
    Ok(())
}
