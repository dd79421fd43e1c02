//! Row 4: from the command to the first output when none of our files is in the page cache.

use super::Bench;
use super::boot::ms;
use super::contest::{Contender, alternate, needed};
use super::options::Price;
use super::pages;
use super::row::{Budget, Limit, Measured, Named};
use super::run::Room;
use super::stats::Summary;
use anyhow::{Context, Result};
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Larger than anything a start reads.
const REFERENCE_BYTES: usize = 128 << 20;
/// How many times row 3 it may take, beside the disk.
const FACTOR: f64 = 2.0;

/// Cold and warm in turn, and the disk alone.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let room = Room::on_disk(bench)?;
    let files = ours(bench, &room)?;
    let reference = reference(&room.home())?;
    let read = Cell::new(0_u64);
    let mut contenders = [
        Contender::new("supermachine", || {
            evict(&files)?;
            let took = room.first_output()?;
            read.set(pages::resident_bytes(&files)?);
            Ok(vec![ms(took), read.get() as f64 / 1024.0])
        }),
        Contender::new("page cache warm", || Ok(vec![ms(room.first_output()?)])),
        Contender::new("the disk, for as many bytes in one go", || {
            evict(std::slice::from_ref(&reference))?;
            Ok(vec![sequential(&reference, read.get() as usize)?])
        }),
    ];
    alternate(bench.options.runs(Price::Cheap), &mut contenders);
    let [cold, warm, disk] = &contenders;
    let (warm_ms, disk_ms) = (needed(warm, 0)?, needed(disk, 0)?);
    let kib = needed(cold, 1)?;
    let named = |contender: &Contender<'_>, summary: &Summary| Named {
        name: contender.name().to_owned(),
        summary: summary.clone(),
    };
    let ours = needed(cold, 0)?;
    Ok(Measured {
        limits: vec![Limit {
            name: "p50, ms, against 2 times the warm one plus the disk",
            value: ours.p50,
            at_most: FACTOR.mul_add(warm_ms.p50, disk_ms.p50),
        }],
        also: vec![named(warm, &warm_ms), named(disk, &disk_ms)],
        ours,
        peer: None,
        budget: Budget::LimitsOnly,
        notes: vec![format!(
            "before each turn posix_fadvise(DONTNEED) on everything in our home (template, image, working set, empty \
             disk) and on both programs; that none of it is left is checked with fincore, which uses mincore; {:.0} KiB \
             of it are there after a start, read ahead included; libc and the kernel stay warm",
            kib.p50
        )],
        plot: None,
    })
}

fn ours(bench: &Bench, room: &Room) -> Result<Vec<PathBuf>> {
    let mut files = pages::files_below(&room.home())?;
    files.extend([bench.programs.vmm(), bench.programs.cli()?]);
    Ok(files)
}

/// Takes files out of the page cache, and makes sure of it.
fn evict(files: &[PathBuf]) -> Result<()> {
    pages::evict(files)?;
    let left = pages::resident_bytes(files)?;
    anyhow::ensure!(
        left == 0,
        "{left} bytes of our files stay in the page cache: somebody else uses them"
    );
    Ok(())
}

fn reference(dir: &Path) -> Result<PathBuf> {
    let path = dir.with_extension("reference");
    let mut random = vec![0; 1 << 20];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut file = File::create(&path)?;
    for _ in 0..REFERENCE_BYTES / random.len() {
        file.write_all(&random)?;
    }
    file.sync_all()?;
    Ok(path)
}

/// Milliseconds for the first bytes of a file.
fn sequential(path: &Path, bytes: usize) -> Result<f64> {
    let mut buffer = vec![0; bytes.min(REFERENCE_BYTES)];
    let started = Instant::now();
    File::open(path)?
        .read_exact(&mut buffer)
        .context("read the reference file")?;
    Ok(ms(started.elapsed()))
}
