//! Whom the kernel killed for want of memory, by its own words in its log.

use crate::sys::fd;
use proto::session::Victim;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest record of the kernel's log, its header included.
const RECORD: usize = 8 << 10;
/// Records looked at in one go: root inside can write them as fast as we read.
const MOST_RECORDS: usize = 4096;
/// Records of lower numbers are the kernel's own; the others were written by programs.
const KERNEL_FACILITY: u32 = 8;

/// The kernel's log from the template point on, and every process by the id the log has it under.
#[derive(Debug)]
pub struct KernelLog {
    records: OwnedFd,
    processes: OwnedFd,
}

impl KernelLog {
    /// Needs /dev, and /proc as PID 1 sees it.
    pub fn open() -> io::Result<Self> {
        let records = fd::open(c"/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK)?;
        fd::seek_to_end(&records)?;
        let processes = fd::open(c"/proc", libc::O_RDONLY | libc::O_DIRECTORY)?;
        Ok(Self { records, processes })
    }

    /// The processes that were killed since this was called last.
    pub fn victims(&self) -> Vec<Victim> {
        let mut record = [0; RECORD];
        let mut victims = Vec::new();
        for _ in 0..MOST_RECORDS {
            match fd::read(&self.records, &mut record) {
                Ok(length) => victims.extend(
                    victim(&record[..length])
                        .map(|(pid, name)| self.seen_from_inside(pid, name.into())),
                ),
                // Records were overwritten before we read them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => break,
            }
        }
        victims
    }

    /// A process that is still there, if only as a zombie, says its id in the workload's namespace.
    fn seen_from_inside(&self, pid: u32, name: String) -> Victim {
        let status = || {
            let path = CString::new(format!("{pid}/status")).ok()?;
            let file = fd::open_in(&self.processes, &path, libc::O_RDONLY).ok()?;
            let mut text = [0; 4 << 10];
            let length = fd::read_at(&file, &mut text, 0).ok()?;
            innermost_pid(&text[..length])
        };
        Victim {
            name,
            pid: status(),
        }
    }
}

impl AsFd for KernelLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

/// Process and name in `6,719,1234567,-;Memory cgroup out of memory: Killed process 123 (tail) total-vm:...`.
fn victim(record: &[u8]) -> Option<(u32, &str)> {
    let record = std::str::from_utf8(record).ok()?;
    let (header, message) = record.split_once(';')?;
    let priority: u32 = header.split(',').next()?.parse().ok()?;
    if priority >= KERNEL_FACILITY {
        return None;
    }
    let (_, killed) = message.split_once("Killed process ")?;
    let (pid, rest) = killed.split_once(" (")?;
    // The name may hold anything, a parenthesis too.
    let (name, _) = rest.rsplit_once(") total-vm:")?;
    Some((pid.parse().ok()?, name))
}

/// The last of `NSpid: 123 45`.
fn innermost_pid(status: &[u8]) -> Option<i32> {
    let status = String::from_utf8_lossy(status);
    let ids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_is_named_by_the_kernel_alone() {
        let says =
            "Memory cgroup out of memory: Killed process 123 (a) (b) total-vm:4kB, anon-rss:0kB";
        let record = |priority: u32| format!("{priority},719,1234567,-;{says}\n SUBSYSTEM=x\n");
        assert_eq!(victim(record(3).as_bytes()), Some((123, "a) (b")));
        assert_eq!(victim(record(11).as_bytes()), None);
        for other in [
            "",
            "3,1,1,-;Killed process",
            "3,1,1,-;Killed process x (y) total-vm:",
        ] {
            assert_eq!(victim(other.as_bytes()), None);
        }
    }

    #[test]
    fn the_id_inside_is_the_last_one() {
        assert_eq!(innermost_pid(b"Name:\tx\nNSpid:\t123\t45\n"), Some(45));
        assert_eq!(innermost_pid(b"Name:\tx\n"), None);
    }
}
