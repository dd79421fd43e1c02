//! Pulls an image into a store and says what that took.
//!
//!     cargo run --release -p image --example pull -- HOME REFERENCE [EXTRA_CA]
use image::{Digest, ImageRef, Progress, PullOptions, Store};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Count {
    bytes: AtomicU64,
    composed_ns: AtomicU64,
}

impl Progress for Count {
    fn advance(&self, _layer: &Digest, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn composed(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.composed_ns.store(nanoseconds, Ordering::Relaxed);
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{error}");
            let mut next = error.source();
            while let Some(cause) = next {
                eprint!(": {cause}");
                next = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(home), Some(reference)) = (args.next(), args.next()) else {
        return Err("usage: pull HOME REFERENCE [EXTRA_CA]".into());
    };
    let reference: ImageRef = reference.parse()?;
    let mut options = PullOptions::default();
    options.registry.extra_ca = args.next().map(PathBuf::from);
    let store = Store::open(&PathBuf::from(home))?;
    let count = Count::default();
    let begin = Instant::now();
    let image = store.pull(&reference, &options, &count)?;
    let time = begin.elapsed();
    let root: u64 = image.root.pieces.iter().map(|piece| piece.len).sum();
    println!("image     {}", image.digest);
    println!(
        "root      {} ({root} bytes in {} pieces)",
        image.root.digest,
        image.root.pieces.len()
    );
    println!("read      {} bytes", count.bytes.load(Ordering::Relaxed));
    println!("time      {:.1} ms", time.as_secs_f64() * 1e3);
    let composed = Duration::from_nanos(count.composed_ns.load(Ordering::Relaxed));
    println!(
        "of it     {:.1} ms to compose and publish",
        composed.as_secs_f64() * 1e3
    );
    println!(
        "peak RSS  {}",
        peak_memory().unwrap_or_else(|| "unknown".to_owned())
    );
    Ok(())
}

/// The most memory this process had, as the kernel counts it.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
