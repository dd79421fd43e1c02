//! Row 2: the host's part of a restore, from before the VMM's process is started until the guest goes on.

use super::Bench;
use super::boot::{MEMORY_MIB, ms};
use super::contest::{Contender, alternate, needed};
use super::firecracker::{self, Firecracker};
use super::microvm::{Microvm, Saved};
use super::options::Price;
use super::plot::{Plot, Series};
use super::row::{Budget, Limit, Measured, Named};
use anyhow::Result;

/// Sizes between which the time must not grow.
const SIZES_MIB: [u32; 7] = [128, 256, 512, 1024, 2048, 4096, 8192];
/// Milliseconds it may grow by.
const FLAT: f64 = 1.0;

/// A VM that was saved when its agent had come up, again and again.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let programs = &bench.programs;
    let saved = save(bench, MEMORY_MIB)?;
    let firecracker = Firecracker::install()?;
    let theirs = firecracker.snapshot(programs, MEMORY_MIB)?;
    let mut contenders = [
        Contender::new("supermachine", || restore(bench, &saved)),
        Contender::new(firecracker::NAME, || {
            Ok(vec![ms(firecracker.restore(&theirs)?)])
        }),
    ];
    let rounds = bench.options.runs(Price::Cheap);
    alternate(rounds, &mut contenders);
    let [ours, peer] = &contenders;
    let ours = needed(ours, 0)?;
    let mut notes = vec![
        format!(
            "ours wrote {} KiB of the guest's memory; the files are in the page cache; a restored VM runs on, and the \
             pages it touches then are not in this time",
            saved.bytes >> 10
        ),
        "firecracker: from its start to the answer that the VM is resumed. It does not save a register that the \
         patched guest of a software KVM needs, so on such a host its guest would not survive; the host's part is the \
         same"
            .to_owned(),
    ];
    let peer = match peer.summary(0) {
        Ok(summary) => Some(Named {
            name: peer.name().to_owned(),
            summary,
        }),
        Err(reason) => {
            notes.push(format!("{} not measured: {reason}", peer.name()));
            None
        }
    };
    let sizes = by_size(bench, rounds)?;
    Ok(Measured {
        limits: vec![Limit {
            name: "growth from the smallest to the largest memory, ms",
            value: spread(&sizes),
            at_most: FLAT,
        }],
        ours,
        peer,
        budget: Budget::Value(4.0),
        plot: Some(plot(&sizes)),
        also: sizes,
        notes,
    })
}

fn save(bench: &Bench, memory_mib: u32) -> Result<Saved> {
    Microvm::boot(&bench.programs, memory_mib)?.0.save()
}

fn restore(bench: &Bench, saved: &Saved) -> Result<Vec<f64>> {
    let (_vm, took) = Microvm::restore(&bench.programs, saved)?;
    Ok(vec![ms(took)])
}

fn by_size(bench: &Bench, rounds: usize) -> Result<Vec<Named>> {
    let saved = SIZES_MIB
        .into_iter()
        .map(|mib| save(bench, mib))
        .collect::<Result<Vec<_>>>()?;
    let mut contenders: Vec<_> = saved
        .iter()
        .zip(SIZES_MIB)
        .map(|(saved, mib)| {
            Contender::new(format!("supermachine, {mib} MiB"), move || {
                restore(bench, saved)
            })
        })
        .collect();
    alternate(rounds, &mut contenders);
    contenders
        .iter()
        .map(|contender| {
            Ok(Named {
                name: contender.name().to_owned(),
                summary: needed(contender, 0)?,
            })
        })
        .collect()
}

fn plot(sizes: &[Named]) -> Plot {
    let medians = sizes.iter().map(|named| named.summary.p50);
    let points = SIZES_MIB.into_iter().map(f64::from).zip(medians).collect();
    Plot {
        file: "restore.svg",
        title: "restore by size of the guest's memory: start of the VMM to the guest",
        x: "MiB",
        y: "ms, p50",
        series: vec![Series {
            name: "supermachine",
            points,
        }],
    }
}

/// Between the fastest and the slowest median.
fn spread(sizes: &[Named]) -> f64 {
    let medians = sizes.iter().map(|named| named.summary.p50);
    let (least, most) = medians.fold((f64::INFINITY, 0.0_f64), |(least, most), p50| {
        (least.min(p50), most.max(p50))
    });
    most - least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stats::Summary;

    #[test]
    fn the_spread_is_between_the_extremes_whatever_their_order() {
        let named = |p50| Named {
            name: String::new(),
            summary: Summary::of(vec![p50]),
        };
        assert_eq!(spread(&[named(3.0), named(5.0), named(2.5)]), 2.5);
    }
}
