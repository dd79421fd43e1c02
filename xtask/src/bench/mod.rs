//! `cargo xtask bench`: ourselves and others in turn, in one run, against the budgets. How each row is measured,
//! and which traps it avoids, is in docs/benchmarks/README.md.

mod boot;
mod cmdline;
mod console;
mod contest;
mod exec;
mod firecracker;
mod fork;
mod host;
mod image;
mod layer;
mod memory;
mod microvm;
mod options;
mod pool;
mod programs;
mod qemu;
mod registry;
mod restore;
mod row;
mod run;
mod screen;
mod smaps;
mod stats;
mod timed;

use anyhow::Result;
use options::Options;
use programs::Programs;
use row::{Row, Subject};

/// What every measurement gets.
struct Bench {
    options: Options,
    programs: Programs,
}

/// A row of the table and how to measure it.
struct Measurement {
    subject: Subject,
    run: fn(&Bench) -> Result<row::Measured>,
}

const ALL: &[Measurement] = &[
    Measurement {
        subject: Subject {
            row: 1,
            name: "cold boot to the first line of PID 1, 256 MiB",
            unit: "ms",
        },
        run: boot::measure,
    },
    Measurement {
        subject: Subject {
            row: 2,
            name: "restore, the host's part: start of the VMM to the guest, 256 MiB",
            unit: "ms",
        },
        run: restore::measure,
    },
    Measurement {
        subject: Subject {
            row: 3,
            name: "restore to the first output, whole command, 512 MiB",
            unit: "ms",
        },
        run: run::first_output,
    },
    Measurement {
        subject: Subject {
            row: 5,
            name: "`run IMAGE true`, whole command, an image that was never run",
            unit: "ms",
        },
        run: run::whole_command,
    },
    Measurement {
        subject: Subject {
            row: 6,
            name: "pool: acquire, exec of `true`, release",
            unit: "ms",
        },
        run: pool::measure,
    },
    Measurement {
        subject: Subject {
            row: 7,
            name: "fork of a running VM, 256 MiB, 64 MiB written: the original is held",
            unit: "ms",
        },
        run: fork::measure,
    },
    Measurement {
        subject: Subject {
            row: 9,
            name: "memory of the VMM less the guest's, 256 MiB, one VM",
            unit: "MiB",
        },
        run: memory::measure,
    },
    Measurement {
        subject: Subject {
            row: 10,
            name: "exec of `true` in a warm VM",
            unit: "ms",
        },
        run: exec::measure,
    },
    Measurement {
        subject: Subject {
            row: 14,
            name: "redis on Debian, from a registry to a bootable root",
            unit: "ms",
        },
        run: image::measure,
    },
    Measurement {
        subject: Subject {
            row: 15,
            name: "second image that shares all layers but one",
            unit: "ms",
        },
        run: layer::measure,
    },
];

/// `cargo xtask bench [--json] [--runs N] [ROW]...`
pub fn run(arguments: &[String]) -> Result<()> {
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
    let table = screen::table(&host, &rows);
    if json {
        eprint!("{table}");
        println!("{:#}", screen::document(&host, &rows));
    } else {
        print!("{table}");
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
