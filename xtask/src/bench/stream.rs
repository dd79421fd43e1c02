//! Row 11: what a program inside writes to its standard output, read by the host.

use super::Bench;
use super::arena::Arena;
use super::contest::{Contender, alternate, needed};
use super::exec::{ask, summary};
use super::firecracker;
use super::options::Price;
use super::row::{Budget, Measured, Named};
use super::talk;
use anyhow::{Result, bail};
use std::os::unix::net::UnixStream;
use std::time::Instant;

const BYTES: u64 = 1 << 30;
/// Written by a program of the image, in pieces as large as a pipe.
const SENDER: &[&str] = &["dd", "if=/dev/zero", "bs=64k", "count=16384", "status=none"];

/// The same agent, the same sender and the same reader over both VMMs' sockets, and once through the library.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let arena = Arena::open(bench, None)?;
    let mut contenders = [
        Contender::new("supermachine", || gigabyte(arena.ours()?)),
        Contender::new(firecracker::NAME, || gigabyte(arena.theirs()?)),
    ];
    let rounds = bench.options.runs(Price::Slow);
    alternate(rounds, &mut contenders);
    let [ours, peer] = &contenders;
    let library = ask(bench, "exec_stdout", "busybox", rounds)?;
    Ok(Measured {
        ours: needed(ours, 0)?,
        peer: Some(Named {
            name: peer.name().to_owned(),
            summary: needed(peer, 0)?,
        }),
        budget: Budget::Ratio(1.0),
        limits: Vec::new(),
        also: vec![Named {
            name: "the same through the library, restored template".to_owned(),
            summary: summary(&library, "gigabyte_us")?,
        }],
        notes: vec![
            "dd writes 16,384 pieces of 64 KiB into a pipe, the agent makes frames of it, the host reads and pays; guest, \
             agent and host side are the same for both, only the VMM between them differs"
                .to_owned(),
        ],
        plot: None,
    })
}

/// From the request until the end of the program has been told.
fn gigabyte(stream: UnixStream) -> Result<Vec<f64>> {
    let mut bytes = 0;
    let started = Instant::now();
    talk::exec(stream, SENDER, &mut |piece| bytes += piece.len() as u64)?;
    let took = started.elapsed();
    if bytes != BYTES {
        bail!("{bytes} bytes came instead of {BYTES}");
    }
    Ok(vec![took.as_secs_f64() * 1e3])
}
