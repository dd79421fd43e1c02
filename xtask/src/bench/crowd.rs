//! Row 8: many copies of one VM, each of which answers.

use super::Bench;
use super::boot::ms;
use super::contest::{Contender, alternate, needed};
use super::exec::ask;
use super::options::Price;
use super::plot::{Plot, Series};
use super::row::{Budget, Limit, Measured, Named};
use super::run::Room;
use super::stats::Summary;
use anyhow::{Context, Result};
use serde_json::Value;

/// The number of copies the row is about.
const COPIES: u64 = 100;
/// What an idle copy may cost, all its memory included.
const EACH_MIB: f64 = 2.0;

/// Forks of one VM of the busybox image, and row 3 for comparison.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let room = Room::new(bench)?;
    let mut restore = [Contender::new("row 3", || {
        Ok(vec![ms(room.first_output()?)])
    })];
    alternate(bench.options.runs(Price::Dear), &mut restore);
    let restore = needed(&restore[0], 0)?;
    let answer = ask(
        bench,
        "fork_crowd",
        "busybox",
        bench.options.runs(Price::Slow),
    )?;
    let counts = answer["counts"].as_array().context("no counts")?;
    let ours = figures(at(counts, COPIES)?, "answered_us")?;
    let cpus = std::thread::available_parallelism()?.get() as f64;
    let each = answer["each_pss_kib"].as_f64().context("no memory")? / 1024.0;
    Ok(Measured {
        limits: vec![
            Limit {
                name: "p50, ms, against 100 times row 3 divided by the CPUs",
                value: ours.p50,
                at_most: COPIES as f64 * restore.p50 / cpus,
            },
            Limit {
                name: "copies that did not answer",
                value: answer["lost"].as_f64().context("no count of the lost")?,
                at_most: 0.0,
            },
            Limit {
                name: "memory of an idle copy, its guest's included (PSS), MiB",
                value: each,
                at_most: EACH_MIB,
            },
        ],
        also: also(counts, restore)?,
        plot: Some(plot(counts)?),
        ours,
        peer: None,
        budget: Budget::LimitsOnly,
        notes: vec![
            "from the call of `Vm::fork` until the last copy has answered an exec of `true`, which are sent by as many \
             threads as there are CPUs; all copies run at the same time; each has its own identity by then"
                .to_owned(),
        ],
    })
}

fn also(counts: &[Value], restore: Summary) -> Result<Vec<Named>> {
    let mut also = vec![Named {
        name: "restore to the first output, as row 3".to_owned(),
        summary: restore,
    }];
    for count in counts {
        let copies = count["copies"].as_u64().context("no number of copies")?;
        let mut add = |name: String, key: &str| -> Result<()> {
            let summary = figures(count, key)?;
            also.push(Named { name, summary });
            Ok(())
        };
        if copies == COPIES {
            add(
                format!("{copies} copies, until all have an identity"),
                "forked_us",
            )?;
        } else {
            add(
                format!("{copies} copies, until all have answered"),
                "answered_us",
            )?;
        }
    }
    Ok(also)
}

fn at(counts: &[Value], copies: u64) -> Result<&Value> {
    let found = counts.iter().find(|count| count["copies"] == copies);
    found.with_context(|| format!("nothing about {copies} copies"))
}

fn figures(count: &Value, key: &str) -> Result<Summary> {
    super::exec::summary(count, key)
}

fn plot(counts: &[Value]) -> Result<Plot> {
    let series = |name: &'static str, key: &str| -> Result<Series> {
        let point = |count: &Value| -> Result<(f64, f64)> {
            let copies = count["copies"].as_f64().context("no number of copies")?;
            Ok((copies, figures(count, key)?.p50))
        };
        let points = counts.iter().map(point).collect::<Result<_>>()?;
        Ok(Series { name, points })
    };
    Ok(Plot {
        file: "forks.svg",
        title: "n copies of one running VM, by fork",
        x: "copies",
        y: "ms, p50",
        series: vec![
            series("all have answered an exec", "answered_us")?,
            series("all have an identity of their own", "forked_us")?,
        ],
    })
}
