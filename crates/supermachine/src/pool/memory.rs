//! Whether the host has memory for one more VM.
//!
//! A VM can take all of its memory at any time, so what the VMs of a pool have not taken yet is promised to them: a VM
//! is made only when `MemAvailable` covers that, the new VM whole, and a reserve. What they have taken is known from
//! the anonymous pages of their processes; the pages they share with their template are page cache.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a VMM takes beside the guest's memory.
const VMM: u64 = 8 << 20;

/// What is left to everybody else: with less than this the kernel begins to swap out what it can.
const RESERVE: u64 = 128 << 20;

/// Who says how many bytes the host has to spare.
#[derive(Clone)]
pub(super) struct Available(Arc<dyn Fn() -> io::Result<u64> + Send + Sync>);

impl Available {
    pub(super) fn new(read: impl Fn() -> io::Result<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(super) fn of_the_host() -> Self {
        Self::new(|| {
            let text = fs::read_to_string("/proc/meminfo")?;
            let missing = || io::Error::new(io::ErrorKind::InvalidData, "no MemAvailable in it");
            field(&text, "MemAvailable:").ok_or_else(missing)
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        (self.0)()
    }
}

impl std::fmt::Debug for Available {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Available")
    }
}

/// Lets VMs in, one after the other.
#[derive(Debug)]
pub(super) struct Admission {
    available: Available,
    /// The most one VM takes.
    each: u64,
    ledger: Mutex<Ledger>,
}

/// Whom memory is promised to.
#[derive(Debug, Default)]
struct Ledger {
    /// Those that were let in and have not come up yet.
    coming: usize,
    /// The process of each that has, by its serial.
    processes: BTreeMap<u64, u32>,
}

impl Admission {
    /// For VMs of so much guest memory.
    pub(super) fn new(available: Available, memory_mib: u32) -> Self {
        Self {
            available,
            each: most_of_vm(memory_mib),
            ledger: Mutex::default(),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more VM in, if the host has memory for it.
    pub(super) fn ask(&self) -> io::Result<Result<(), Shortage>> {
        let mut ledger = self.ledger();
        let available = self.available.bytes()?;
        let there = ledger.processes.values().map(|pid| taken(*pid));
        let coming = std::iter::repeat_n(0, ledger.coming);
        let answer = admit(available, self.each, there.chain(coming));
        if answer.is_ok() {
            ledger.coming += 1;
        }
        Ok(answer)
    }

    /// One that was let in has come up.
    pub(super) fn came(&self, serial: u64, pid: u32) {
        let mut ledger = self.ledger();
        ledger.coming -= 1;
        ledger.processes.insert(serial, pid);
    }

    /// One that was let in does not come.
    pub(super) fn will_not_come(&self) {
        self.ledger().coming -= 1;
    }

    /// One has ended.
    pub(super) fn gone(&self, serial: u64) {
        self.ledger().processes.remove(&serial);
    }
}

/// What a VM would have needed and the host did not have, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) needed: u64,
    pub(super) available: u64,
    /// Of the available ones, what is promised already.
    pub(super) promised: u64,
}

/// The most a VM of so much guest memory takes.
fn most_of_vm(memory_mib: u32) -> u64 {
    (u64::from(memory_mib) << 20) + VMM
}

/// Whether one more VM may be made beside others that have taken so much each.
fn admit(available: u64, each: u64, taken: impl IntoIterator<Item = u64>) -> Result<(), Shortage> {
    let promised = taken
        .into_iter()
        .map(|taken| each.saturating_sub(taken))
        .fold(RESERVE, u64::saturating_add);
    if available >= promised.saturating_add(each) {
        Ok(())
    } else {
        Err(Shortage {
            needed: each,
            available,
            promised,
        })
    }
}

/// What a VMM has taken of the host's memory; nothing if it is gone.
fn taken(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&text, "RssAnon:").unwrap_or(0) + field(&text, "RssShmem:").unwrap_or(0)
}

/// A line of proc(5) in `kB`, as bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_figures_are_found() {
        let text = "MemTotal:       1 kB\nMemAvailable:   12 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(12 << 10));
        assert_eq!(field(text, "MemFree:"), None);
        assert_eq!(field("MemFree: many kB", "MemFree:"), None);
        assert!(Available::of_the_host().bytes().unwrap() > 0);
        assert!(taken(std::process::id()) > 0);
        assert_eq!(taken(u32::MAX), 0);
    }

    #[test]
    fn what_others_have_not_taken_yet_is_promised_to_them() {
        let each = most_of_vm(128);
        assert_eq!(admit(RESERVE + each, each, []), Ok(()));
        assert_eq!(
            admit(RESERVE + each - 1, each, []),
            Err(Shortage {
                needed: each,
                available: RESERVE + each - 1,
                promised: RESERVE
            })
        );
        assert!(admit(RESERVE + each, each, [1 << 20]).is_err());
        assert_eq!(admit(RESERVE + each, each, [each, each + 1]), Ok(()));
    }

    #[test]
    fn memory_is_promised_from_admission_to_the_end() {
        let each = most_of_vm(128);
        let admission = Admission::new(Available::new(move || Ok(RESERVE + 2 * each)), 128);
        let ask = || admission.ask().unwrap().is_ok();
        assert!(ask() && ask() && !ask());
        // A process that takes nothing.
        admission.came(7, u32::MAX);
        assert!(!ask());
        admission.will_not_come();
        assert!(ask() && !ask());
        admission.gone(7);
        assert!(ask() && !ask());
    }

    proptest! {
        #[test]
        fn a_host_that_admits_a_vm_can_give_every_vm_all_it_may_take(
            available: u64, each in 0..1_u64 << 50, taken in prop::collection::vec(0..1_u64 << 50, 0..20)
        ) {
            if admit(available, each, taken.iter().copied()).is_ok() {
                let missing: u64 = taken.iter().map(|taken| each.saturating_sub(*taken)).sum();
                prop_assert!(available >= missing + each + RESERVE);
            }
        }
    }
}
