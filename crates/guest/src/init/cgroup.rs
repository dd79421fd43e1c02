//! The cgroup that everything of the image lives in; PID 1 and agent stay outside, in the root.

use super::freezer::Freezer;
use super::mounts::mount_on;
use super::{BootError, Step};
use crate::sys::{fd, mount::Restrictions, system};
use proto::session::Usage;
use std::ffi::CStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where PID 1 sees all cgroups. The workload sees its own at /sys/fs/cgroup and nothing above.
const HIERARCHY: &CStr = c"/cgroup";
/// Memory that the workload never gets: our own processes have a megabyte each, the rest is what the kernel
/// charges to nobody.
const RESERVE: u64 = 16 << 20;

/// What a share of CPU time is counted over: the kernel's own default, 100 ms.
const CPU_PERIOD_US: u64 = 100_000;

const WORKLOAD: &str = "/cgroup/workload";
/// Where an exec goes when the workload manages its cgroup itself: the kernel allows no process in a cgroup
/// whose controllers are delegated further down.
const FALLBACK: &CStr = c"exec";

/// The workload's cgroup, by descriptors: once the root is switched no path of ours leads there.
#[derive(Debug)]
pub struct Cgroup {
    directory: OwnedFd,
    memory_max: OwnedFd,
    memory_events: OwnedFd,
    kill: OwnedFd,
    freezer: Freezer,
    /// What the workload gets when nobody asks for less.
    most_memory: u64,
}

impl Cgroup {
    /// Mounts the hierarchy, delegates every controller, makes the cgroup.
    pub fn create() -> Result<Self, BootError> {
        mount_on(
            c"cgroup2",
            HIERARCHY,
            c"cgroup2",
            Restrictions::DATA_ONLY,
            c"",
        )
        .step("mount cgroup2")?;
        delegate("/cgroup").step("delegate the cgroup controllers")?;
        fs::create_dir(WORKLOAD).step("make the workload's cgroup")?;
        let open = |path: &CStr, flags| fd::open(path, flags).step(path.to_string_lossy());
        let directory = open(c"/cgroup/workload", libc::O_RDONLY | libc::O_DIRECTORY)?;
        let freezer = Freezer::open(&directory).step("open the workload's freezer")?;
        let memory = system::memory().step("ask for the memory size")?;
        let cgroup = Self {
            directory,
            memory_max: open(c"/cgroup/workload/memory.max", libc::O_WRONLY)?,
            memory_events: open(c"/cgroup/workload/memory.events", libc::O_RDONLY)?,
            kill: open(c"/cgroup/workload/cgroup.kill", libc::O_WRONLY)?,
            freezer,
            most_memory: memory.saturating_sub(RESERVE),
        };
        cgroup
            .set_memory_limit(cgroup.most_memory)
            .step("limit the workload's memory")?;
        // Read once, so that the kernel tells of changes only.
        cgroup
            .out_of_memory_kills()
            .step("read the workload's memory events")?;
        Ok(cgroup)
    }

    /// Holds the workload to this many bytes of memory, or to what leaves room for PID 1 and agent: when
    /// memory runs out, the kernel then picks its victim in here and never one of ours.
    pub fn limit_memory(&self, wanted: Option<u64>) -> io::Result<()> {
        match wanted {
            Some(bytes) if bytes < self.most_memory => self.set_memory_limit(bytes),
            _ => Ok(()),
        }
    }

    fn set_memory_limit(&self, bytes: u64) -> io::Result<()> {
        fd::write_parameter(&self.memory_max, bytes.to_string().as_bytes())
    }

    /// Holds the workload to so many processes and so much CPU time, in thousandths of one CPU.
    pub fn limit_pids_and_cpu(&self, pids: Option<u64>, cpu: Option<u32>) -> io::Result<()> {
        if let Some(pids) = pids {
            self.write(c"pids.max", &pids.to_string())?;
        }
        if let Some(thousandths) = cpu {
            let quota = u64::from(thousandths) * CPU_PERIOD_US / 1000;
            self.write(c"cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
        }
        Ok(())
    }

    fn write(&self, name: &CStr, value: &str) -> io::Result<()> {
        let file = fd::open_in(&self.directory, name, libc::O_WRONLY)?;
        fd::write_parameter(&file, value.as_bytes())
    }

    /// What is used in it.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut text = [0; 16 << 10];
        let cpu_us = event_count(self.read(c"cpu.stat", &mut text)?, b"usage_usec");
        let cache = event_count(self.read(c"memory.stat", &mut text)?, b"inactive_file");
        let memory = number(self.read(c"memory.current", &mut text)?);
        let memory_limit = number(self.read(c"memory.max", &mut text)?);
        let pids = number(self.read(c"pids.current", &mut text)?);
        let disks = self.read(c"io.stat", &mut text)?;
        Ok(Usage {
            cpu_us,
            memory: memory.saturating_sub(cache),
            memory_limit,
            pids,
            read: sum_of(disks, "rbytes="),
            written: sum_of(disks, "wbytes="),
        })
    }

    fn read<'a>(&self, name: &CStr, text: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let file = fd::open_in(&self.directory, name, libc::O_RDONLY)?;
        let length = fd::read_at(&file, text, 0)?;
        Ok(&text[..length])
    }

    /// Stops and continues every process in it.
    pub const fn freezer(&self) -> &Freezer {
        &self.freezer
    }

    /// How many processes the kernel has killed for want of memory so far.
    pub fn out_of_memory_kills(&self) -> io::Result<u64> {
        let mut text = [0; 512];
        let length = fd::read_at(&self.memory_events, &mut text, 0)?;
        Ok(event_count(&text[..length], b"oom_kill"))
    }

    /// A file whose changes mean that the count may have changed.
    pub fn memory_events(&self) -> &OwnedFd {
        &self.memory_events
    }

    /// Kills every process in it, the reaper included.
    pub fn kill_all(&self) -> io::Result<()> {
        fd::write_parameter(&self.kill, b"1")
    }

    /// The cgroup below, for a start that the kernel refused in this one.
    pub fn fallback(&self) -> io::Result<OwnedFd> {
        match fd::make_directory_in(&self.directory, FALLBACK) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fd::open_in(
            &self.directory,
            FALLBACK,
            libc::O_RDONLY | libc::O_DIRECTORY,
        )
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

fn delegate(cgroup: &str) -> io::Result<()> {
    let controllers = fs::read_to_string(format!("{cgroup}/cgroup.controllers"))?;
    fs::write(
        format!("{cgroup}/cgroup.subtree_control"),
        enabling(&controllers),
    )
}

/// What to write so that every controller in a list is on.
fn enabling(controllers: &str) -> String {
    controllers
        .split_whitespace()
        .map(|name| format!("+{name}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The only number of a file; 0 where there is a word.
fn number(text: &[u8]) -> u64 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// The sum of the numbers behind a key, over all lines.
fn sum_of(text: &[u8], key: &str) -> u64 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .sum()
}

/// The number behind a name in a file of "name number" lines; 0 if it is not there.
pub(super) fn event_count(text: &[u8], name: &[u8]) -> u64 {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(b" "))
        .and_then(|number| std::str::from_utf8(number).ok()?.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_controller_is_enabled() {
        assert_eq!(
            enabling("cpuset cpu io memory pids\n"),
            "+cpuset +cpu +io +memory +pids"
        );
        assert_eq!(enabling("\n"), "");
    }

    #[test]
    fn figures_are_read_from_the_kernels_words() {
        assert_eq!(
            (number(b"4096\n"), number(b"max\n"), number(b"")),
            (4096, 0, 0)
        );
        let disks = b"254:0 rbytes=100 wbytes=0 rios=1\n254:16 rbytes=23 wbytes=7 rios=2\n";
        assert_eq!(
            (sum_of(disks, "rbytes="), sum_of(disks, "wbytes=")),
            (123, 7)
        );
    }

    #[test]
    fn events_are_counted_by_their_whole_name() {
        let text = b"low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\n";
        assert_eq!(event_count(text, b"oom_kill"), 4);
        assert_eq!(event_count(text, b"oom"), 3);
        assert_eq!(event_count(text, b"none"), 0);
        assert_eq!(event_count(b"oom_kill x", b"oom_kill"), 0);
    }
}
