//! What a VM uses, inside and on the host, and what runs in it.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::network::Traffic;
use crate::session::{Session, TimedOut};
use crate::vm::Vm;
use proto::session::{Event, ProcessInfo, Request, RequestBody, Usage};
use std::time::{Duration, Instant};

/// How long the agent may take to look around.
const ANSWER: Duration = Duration::from_secs(10);

/// What a VM uses at one moment.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Stats {
    /// Inside, as the kernel of the VM accounts for the workload.
    pub inside: Usage,
    /// Memory of the host in bytes that goes to this VM: its share of what it shares (PSS). `None` where the host
    /// does not tell this user.
    pub host_memory: Option<u64>,
    /// What has passed its network card in this life.
    pub traffic: Traffic,
    /// When this was.
    pub at: Instant,
}

impl Stats {
    /// CPU time per time since an earlier moment, 1.0 for one CPU.
    pub fn cpu_since(&self, earlier: &Self) -> f64 {
        let used = self.inside.cpu_us.saturating_sub(earlier.inside.cpu_us);
        let passed = self.at.saturating_duration_since(earlier.at);
        if passed.is_zero() {
            0.0
        } else {
            used as f64 / passed.as_micros() as f64
        }
    }
}

/// What runs in a VM.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Processes {
    /// The processes, by their ids.
    pub list: Vec<ProcessInfo>,
    /// How many more there are.
    pub omitted: u32,
}

impl Vm {
    /// What the VM uses now.
    pub fn stats(&self) -> Result<Stats, Error> {
        let told = ask(self, RequestBody::Measure)?;
        let inside = told.into_iter().find_map(|event| match event {
            Event::Measured(usage) => Some(usage),
            _ => None,
        });
        Ok(Stats {
            inside: inside.unwrap_or_default(),
            host_memory: host_memory(self.record().vmm_pid),
            traffic: self.traffic()?,
            at: Instant::now(),
        })
    }

    /// The processes in the VM, as its own /proc shows them.
    pub fn processes(&self) -> Result<Processes, Error> {
        let mut processes = Processes::default();
        for event in ask(self, RequestBody::ListProcesses)? {
            match event {
                Event::Processes(some) => processes.list.extend(some),
                Event::ProcessesEnd { omitted } => processes.omitted = omitted,
                _ => {}
            }
        }
        Ok(processes)
    }
}

fn ask(vm: &Vm, body: RequestBody) -> Result<Vec<Event>, Error> {
    let deadline = Deadline::after(ANSWER);
    let session = Session::new(vm.reach().connect(deadline)?);
    match session.ask(&Request::new(body), deadline) {
        Ok(told) => told.map_err(|error| vm.reach().explain(error)),
        Err(TimedOut) => Err(Error::Deadline {
            waiting_for: "the VM's figures",
            limit: ANSWER,
        }),
    }
}

/// The proportional share of a process, in bytes.
fn host_memory(pid: u32) -> Option<u64> {
    parse_pss(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn parse_pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_time_used_per_time_passed() {
        let at = Instant::now();
        let stats = |cpu_us, milliseconds| Stats {
            inside: Usage {
                cpu_us,
                ..Usage::default()
            },
            host_memory: None,
            traffic: Traffic::default(),
            at: at + Duration::from_millis(milliseconds),
        };
        assert_eq!(stats(1_500_000, 1000).cpu_since(&stats(1_000_000, 0)), 0.5);
        assert_eq!(stats(5, 0).cpu_since(&stats(0, 0)), 0.0);
    }

    #[test]
    fn the_hosts_share_is_read_from_the_kernels_words() {
        let rollup = "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   12 kB\n";
        assert_eq!(parse_pss(rollup), Some(12 << 10));
        assert_eq!(parse_pss(""), None);
        assert!(host_memory(std::process::id()).is_some_and(|bytes| bytes > 0));
    }
}
