//! Row 9: what a VM costs beside its guest's memory.

use super::Bench;
use super::boot::MEMORY_MIB;
use super::contest::{Contender, alternate, needed};
use super::firecracker::{self, Devices, Firecracker};
use super::microvm::Microvm;
use super::options::Price;
use super::row::{Budget, Measured, Named};
use super::smaps::{Footprint, footprint};
use super::stats::Summary;
use anyhow::Result;

/// How many run at once when it is shown what sharing saves.
const AT_ONCE: usize = 10;

/// One VM at a time, when its agent has knocked; then ten of ours at once.
pub fn measure(bench: &Bench) -> Result<Measured> {
    let programs = &bench.programs;
    let firecracker = Firecracker::install()?;
    let mut contenders = [
        Contender::new("supermachine", || {
            let (vm, _) = Microvm::boot(programs, MEMORY_MIB)?;
            footprint(vm.pid(), MEMORY_MIB).map(figures)
        }),
        Contender::new(firecracker::NAME, || {
            let guest = firecracker.boot(programs, MEMORY_MIB, Devices::Agent)?;
            footprint(guest.pid(), MEMORY_MIB).map(figures)
        }),
    ];
    alternate(bench.options.runs(Price::Cheap), &mut contenders);
    let [ours, peer] = &contenders;
    let named = |name: String, summary| Named { name, summary };
    Ok(Measured {
        ours: needed(ours, 0)?,
        peer: Some(named(peer.name().to_owned(), needed(peer, 0)?)),
        budget: Budget::Value(4.0),
        limits: Vec::new(),
        also: vec![
            named(format!("supermachine, {AT_ONCE} at once, each"), together(bench)?),
            named("guest's memory in use, supermachine".into(), needed(ours, 1)?),
            named(format!("guest's memory in use, {}", peer.name()), needed(peer, 1)?),
        ],
        notes: vec![
            "counted when the agent has knocked, with all of the boot behind it and nothing of an image run yet; the \
             guest's memory is the one anonymous mapping of its size; page tables and KVM's own memory are not in PSS"
                .to_owned(),
        ],
        plot: None,
    })
}

fn together(bench: &Bench) -> Result<Summary> {
    let vms = (0..AT_ONCE)
        .map(|_| Ok(Microvm::boot(&bench.programs, MEMORY_MIB)?.0))
        .collect::<Result<Vec<_>>>()?;
    let own = vms
        .iter()
        .map(|vm| Ok(mib(footprint(vm.pid(), MEMORY_MIB)?.own_kib)))
        .collect::<Result<_>>()?;
    Ok(Summary::of(own))
}

fn figures(footprint: Footprint) -> Vec<f64> {
    vec![mib(footprint.own_kib), mib(footprint.guest_kib)]
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
