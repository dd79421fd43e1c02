//! Row 1: from the start of the VMM's process to the first line of PID 1 on the console.

use super::Bench;
use super::contest::{Contender, alternate, needed};
use super::firecracker::{self, Devices, Firecracker};
use super::microvm::Microvm;
use super::options::Price;
use super::qemu;
use super::row::{Budget, Measured, Named};
use crate::needs;
use anyhow::Result;
use std::time::Duration;

/// Memory of every guest in rows 1 and 9.
pub const MEMORY_MIB: u32 = 256;

const NOTES: &[&str] = &[
    "ends with a line that PID 1 wrote, so the vCPU ran and every page fault until then is inside; each turn starts a \
     process; kernel and initramfs are in the page cache for all",
    "Firecracker has no device but the console; our guest always probes six disks, a socket and an entropy device",
];

/// Ourselves, Firecracker with and without devices, QEMU, in turn.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let programs = &bench.programs;
    let firecracker = Firecracker::install()?;
    let qemu_name = needs::ensure(&[needs::BENCH_QEMU]).and_then(|()| qemu::name());
    let mut contenders = [
        Contender::new("supermachine", || {
            let (_vm, times) = Microvm::boot(programs, MEMORY_MIB)?;
            Ok(vec![ms(times.line), ms(times.ready), ms(times.running)])
        }),
        Contender::new(firecracker::NAME, || {
            let guest = firecracker.boot(programs, MEMORY_MIB, Devices::None)?;
            Ok(vec![ms(guest.line)])
        }),
        Contender::new("firecracker with vsock and rng", || {
            let guest = firecracker.boot(programs, MEMORY_MIB, Devices::Agent)?;
            Ok(vec![ms(guest.line), ms(guest.ready.unwrap_or_default())])
        }),
        Contender::new(
            qemu_name.as_deref().unwrap_or("qemu microvm").to_owned(),
            || {
                if let Err(error) = &qemu_name {
                    anyhow::bail!("{error:#}");
                }
                Ok(vec![ms(qemu::boot(programs, MEMORY_MIB)?)])
            },
        ),
    ];
    alternate(bench.options.runs(Price::Cheap), &mut contenders);
    outcome(&contenders)
}

fn outcome(contenders: &[Contender<'_>; 4]) -> Result<Measured> {
    let [ours, peer, devices, qemu] = contenders;
    let mut notes: Vec<String> = NOTES.iter().map(|note| (*note).to_owned()).collect();
    let mut also = vec![
        Named {
            name: "supermachine, until the vCPU enters the guest".into(),
            summary: needed(ours, 2)?,
        },
        Named {
            name: "supermachine, until the agent knocks".into(),
            summary: needed(ours, 1)?,
        },
    ];
    for (contender, figure, what) in [
        (devices, 0, ""),
        (devices, 1, ", until the agent knocks"),
        (qemu, 0, ""),
    ] {
        match contender.summary(figure) {
            Ok(summary) => also.push(Named {
                name: format!("{}{what}", contender.name()),
                summary,
            }),
            Err(reason) => notes.push(format!("{} not measured: {reason}", contender.name())),
        }
    }
    notes.dedup();
    Ok(Measured {
        plot: None,
        ours: needed(ours, 0)?,
        peer: Some(Named {
            name: peer.name().to_owned(),
            summary: needed(peer, 0)?,
        }),
        budget: Budget::Ratio(0.8),
        limits: Vec::new(),
        also,
        notes,
    })
}

/// A duration in the unit of the table.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
