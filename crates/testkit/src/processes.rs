//! Processes that a test's commands left behind.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::time::{Duration, Instant};

/// Processes below the test, whoever their parent was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes(Vec<Process>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: Pid,
    name: String,
}

impl Processes {
    /// Makes this test the parent of all orphans among its descendants, so that none escapes its eyes.
    pub(crate) fn adopt_orphans() {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .expect("any process may adopt orphans");
    }

    /// Our programs among the test's descendants that have not ended.
    pub fn of_this_test() -> Self {
        let all: Vec<Stat> = all_processes();
        let mut ours = vec![rustix::process::getpid().as_raw_nonzero().get()];
        let mut found = Vec::new();
        let mut next = 0;
        while next < ours.len() {
            let parent = ours[next];
            for stat in all.iter().filter(|stat| stat.parent == parent) {
                ours.push(stat.pid);
                if stat.name.starts_with("supermachine") && !matches!(stat.state, 'Z' | 'X') {
                    let pid = Pid::from_raw(stat.pid).expect("process ids are positive");
                    found.push(Process {
                        pid,
                        name: stat.name.clone(),
                    });
                }
            }
            next += 1;
        }
        Self(found)
    }

    /// Those that are VMMs.
    pub fn vmms(self) -> Vec<Pid> {
        // The kernel keeps 15 bytes of a name.
        self.0
            .into_iter()
            .filter(|process| process.name == "supermachine-vm")
            .map(|process| process.pid)
            .collect()
    }

    /// Those that supervise a VM of their own, for `run -d`.
    pub fn supervisors(self) -> Vec<Pid> {
        let supervises = |process: &Process| {
            let path = format!("/proc/{}/cmdline", process.pid.as_raw_nonzero());
            std::fs::read(path).is_ok_and(|words| words.ends_with(b"\0supervise\0"))
        };
        self.0
            .into_iter()
            .filter(supervises)
            .map(|process| process.pid)
            .collect()
    }

    /// Waits until all of them have ended; whatever has not after a generous time is returned.
    pub(crate) fn outlasting(self, limit: Duration) -> Self {
        let until = Instant::now() + limit;
        let remaining = || until.saturating_duration_since(Instant::now());
        Self(
            self.0
                .into_iter()
                .filter(|process| !wait_for_exit(process.pid, remaining()))
                .collect(),
        )
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a process ends within this time. It need not be our child, and it is not reaped.
pub(crate) fn wait_for_exit(pid: Pid, limit: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true; // gone already
    };
    let limit = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut wanted = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut wanted, Some(&limit)).expect("a pidfd can be polled") > 0
}

struct Stat {
    pid: i32,
    name: String,
    state: char,
    parent: i32,
}

fn all_processes() -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(read_stat).collect()
}

/// proc(5): `PID (NAME) STATE PARENT ...`; the name may hold spaces and parentheses.
fn read_stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some(Stat {
        pid,
        name: name.to_owned(),
        state,
        parent: fields.next()?.parse().ok()?,
    })
}
