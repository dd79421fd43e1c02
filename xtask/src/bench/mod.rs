//! `cargo xtask bench`: ourselves and others in turn, in one run, against the budgets. How each row is measured,
//! and which traps it avoids, is in docs/benchmarks/README.md.

mod arena;
mod block;
mod boot;
mod cmdline;
mod cold;
mod console;
mod contest;
mod crowd;
mod exec;
mod firecracker;
mod fork;
mod host;
mod image;
mod layer;
mod memory;
mod microvm;
mod options;
mod pages;
mod plot;
mod pool;
mod programs;
mod qemu;
mod registry;
mod restore;
mod root;
mod row;
mod run;
mod screen;
mod smaps;
mod stats;
mod stream;
mod talk;
mod timed;
mod workloads;

use anyhow::{Context, Result};
use options::Options;
use programs::Programs;
use row::{Measured, Row, Subject};
use std::path::Path;

/// What every measurement gets.
struct Bench {
    options: Options,
    programs: Programs,
}

/// A row of the table and how to measure it.
struct Measurement {
    subject: Subject,
    run: fn(&Bench) -> Result<Measured>,
}

const ALL: &[Measurement] = &[
    row(
        1,
        "cold boot to the first line of PID 1, 256 MiB",
        "ms",
        boot::measure,
    ),
    row(
        2,
        "restore, the host's part: start of the VMM to the guest, 256 MiB",
        "ms",
        restore::measure,
    ),
    row(
        3,
        "restore to the first output, whole command, 512 MiB",
        "ms",
        run::first_output,
    ),
    row(4, "the same with our files cold", "ms", cold::measure),
    row(
        5,
        "`run IMAGE true`, whole command, an image that was never run",
        "ms",
        run::whole_command,
    ),
    row(
        6,
        "pool: acquire, exec of `true`, release",
        "ms",
        pool::measure,
    ),
    row(
        7,
        "fork of a running VM, 256 MiB, 64 MiB written: the original is held",
        "ms",
        fork::measure,
    ),
    row(
        8,
        "100 copies of one VM by fork, each answers an exec",
        "ms",
        crowd::measure,
    ),
    row(
        9,
        "memory of the VMM less the guest's, 256 MiB, one VM",
        "MiB",
        memory::measure,
    ),
    row(10, "exec of `true` in a warm VM", "ms", exec::measure),
    row(
        11,
        "standard output of an exec, 1 GiB, read by the host",
        "ms",
        stream::measure,
    ),
    row(
        12,
        "block: 4 KiB at random and 1 MiB in sequence, fio",
        "us",
        block::measure,
    ),
    row(
        14,
        "redis on Debian, from a registry to a bootable root",
        "ms",
        image::measure,
    ),
    row(
        15,
        "second image that shares all layers but one",
        "ms",
        layer::measure,
    ),
];

const fn row(
    row: u8,
    name: &'static str,
    unit: &'static str,
    run: fn(&Bench) -> Result<Measured>,
) -> Measurement {
    Measurement {
        subject: Subject { row, name, unit },
        run,
    }
}

/// `cargo xtask bench [--json] [--plots DIR] [--runs N] [ROW]...`, or `cargo xtask bench workloads`
pub fn run(arguments: &[String]) -> Result<()> {
    if arguments == ["workloads"] {
        return workloads::run();
    }
    let options = Options::parse(arguments, ALL.iter().map(|it| it.subject.row))?;
    let json = options.json;
    let host = host::describe();
    let bench = Bench {
        programs: Programs::find()?,
        options,
    };
    let host = host.with_kvm(&bench.programs)?;
    let chosen = ALL
        .iter()
        .filter(|it| bench.options.rows.contains(&it.subject.row));
    let rows: Vec<Row> = chosen.map(|it| bench.take(it)).collect();
    if let Some(dir) = &bench.options.plots {
        draw(&rows, dir)?;
    }
    let table = screen::table(&host, &rows);
    if json {
        eprint!("{table}");
        println!("{:#}", screen::document(&host, &rows));
    } else {
        print!("{table}");
    }
    Ok(())
}

/// Writes the rows' plots.
fn draw(rows: &[Row], dir: &Path) -> Result<()> {
    let measured = rows.iter().filter_map(|row| row.result.as_ref().ok());
    for plot in measured.filter_map(|measured| measured.plot.as_ref()) {
        let path = dir.join(plot.file);
        std::fs::write(&path, plot.svg()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

impl Bench {
    fn take(&self, measurement: &Measurement) -> Row {
        let subject = measurement.subject;
        eprintln!("==> row {}: {}", subject.row, subject.name);
        let result = (measurement.run)(self).map_err(|error| format!("{error:#}"));
        if let Err(reason) = &result {
            eprintln!("      not measured: {reason}");
        }
        Row { subject, result }
    }
}
