//! Runs a command of an image in a microVM and shows what each step took:
//! `cargo run --example run -- oci:DIR [COMMAND...]`.

use std::io::{self, Write};
use std::time::Instant;
use supermachine::{Error, Runtime, VmConfig};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let reference = args
        .next()
        .unwrap_or_else(|| "docker.io/library/busybox".into());
    let mut command: Vec<_> = args.collect();
    if command.is_empty() {
        command = vec!["uname".into(), "-a".into()];
    }
    let began = Instant::now();
    let image = Runtime::new()?.pull(&reference)?;
    let pulled = began.elapsed();
    let vm = image.start(&VmConfig::new())?;
    let output = vm.exec(&command)?;
    let _ = io::stdout().write_all(&output.stdout);
    let _ = io::stderr().write_all(&output.stderr);
    eprintln!(
        "{:?} in {:?}; image {pulled:?}; {:?}",
        output.status(),
        output.duration(),
        vm.timings()
    );
    vm.kill()
}
