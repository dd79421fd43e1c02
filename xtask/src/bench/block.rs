//! Row 12: reading a disk, by fio inside.

use super::Bench;
use super::arena::{Arena, OUR_DATA, THEIR_DATA};
use super::contest::{Contender, alternate, needed};
use super::firecracker;
use super::options::Price;
use super::row::{Budget, Limit, Measured, Named};
use super::talk;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Size of the file both read. It stays in the page cache, so that the disk below is in no figure.
const FILE_MIB: u64 = 256;

/// How fio reads, and what the row shows of it.
const JOBS: [Job; 3] = [
    Job {
        name: "4 KiB at random, one at a time, us each",
        words: &["--rw=randread", "--bs=4k", "--iodepth=1"],
        amount: "--size=32m",
        bytes: 4 << 10,
    },
    Job {
        name: "4 KiB at random, 32 at a time, us each",
        words: &["--rw=randread", "--bs=4k", "--iodepth=32"],
        amount: "--size=64m",
        bytes: 4 << 10,
    },
    Job {
        name: "1 MiB in sequence, four at a time, us each",
        words: &["--rw=read", "--bs=1m", "--iodepth=4"],
        amount: "--size=256m",
        bytes: 1 << 20,
    },
];

struct Job {
    name: &'static str,
    words: &'static [&'static str],
    amount: &'static str,
    bytes: u64,
}

/// Both VMs read the same file.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let data = data()?;
    let arena = Arena::open(bench, Some(data.path()))?;
    let mut contenders = [
        Contender::new("supermachine", || all(OUR_DATA, || arena.ours())),
        Contender::new(firecracker::NAME, || all(THEIR_DATA, || arena.theirs())),
    ];
    alternate(bench.options.runs(Price::Dear), &mut contenders);
    let [ours, peer] = &contenders;
    let mut also = Vec::new();
    let mut limits = Vec::new();
    for (figure, job) in JOBS.iter().enumerate().skip(1) {
        let (mine, others) = (needed(ours, figure)?, needed(peer, figure)?);
        limits.push(Limit {
            name: job.name,
            value: mine.p50,
            at_most: others.p50,
        });
        for (contender, summary) in [(ours, mine), (peer, others)] {
            let name = format!("{}: {}", contender.name(), job.name);
            also.push(Named { name, summary });
        }
    }
    Ok(Measured {
        plot: None,
        ours: needed(ours, 0)?,
        peer: Some(Named {
            name: peer.name().to_owned(),
            summary: needed(peer, 0)?,
        }),
        budget: Budget::Ratio(1.0),
        limits,
        also,
        notes: vec![format!(
            "the row's own figures: {}; fio with libaio and O_DIRECT inside, over one file of {FILE_MIB} MiB that is in \
             the host's page cache; a read's time is fio's run time over the number of reads",
            JOBS[0].name
        )],
    })
}

/// A file that does not compress and has no holes.
fn data() -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    let mut random = File::open("/dev/urandom")?;
    let mut piece = vec![0; 1 << 20];
    random.read_exact(&mut piece)?;
    for number in 0..FILE_MIB {
        piece[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&piece)?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

fn all(device: &str, connect: impl Fn() -> Result<UnixStream>) -> Result<Vec<f64>> {
    JOBS.iter()
        .map(|job| read(connect()?, device, job))
        .collect()
}

/// Microseconds a read takes.
fn read(stream: UnixStream, device: &str, job: &Job) -> Result<f64> {
    let file = format!("--filename={device}");
    let mut words = vec!["fio", "--name=read", "--direct=1", "--ioengine=libaio"];
    words.extend([
        "--readonly",
        "--randrepeat=1",
        "--output-format=json",
        &file,
    ]);
    words.extend(job.words);
    words.push(job.amount);
    let mut text = Vec::new();
    talk::exec(stream, &words, &mut |piece| text.extend_from_slice(piece))?;
    let report: Value = serde_json::from_slice(&text).context("fio's report")?;
    let read = &report["jobs"][0]["read"];
    let figure = |key: &str| {
        read[key]
            .as_f64()
            .with_context(|| format!("fio reports no {key}"))
    };
    // Milliseconds of run time; its bandwidth is rounded less.
    let per_second = figure("bw_bytes")?;
    Ok(job.bytes as f64 / per_second * 1e6)
}
