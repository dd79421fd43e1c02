//! What the workload uses, and its processes, without a program of the image.

use super::Agent;
use super::token::SessionId;
use crate::failure::Context;
use proto::session::{Event, Failure, FailureKind, ProcessInfo};
use std::fs;
use std::path::Path;

/// /proc as the workload sees it: the agent is not in it.
const PROC: &str = "/proc";

/// Processes that are listed, so that a list stays small: the first ones.
const MOST: usize = 1000;

/// Processes in one message, and bytes of each one's command: together less than a frame.
const AT_ONCE: usize = 100;
const COMMAND: usize = 256;

/// The unit of times in /proc: USER_HZ, which has been 100 for ever.
const MILLISECONDS_PER_TICK: u64 = 10;

/// On x86-64.
const KIB_PER_PAGE: u64 = 4;

impl Agent {
    /// Tells a session what the workload uses.
    pub(super) fn measure(&mut self, id: SessionId) -> Result<(), Failure> {
        let usage = self.cgroup.usage().failing(FailureKind::System, || {
            "read the figures of the workload's cgroup".into()
        })?;
        if let Some(session) = self.sessions.get(id) {
            session.finish(&Event::Measured(usage));
        }
        Ok(())
    }

    /// Tells a session what runs.
    pub(super) fn list_processes(&mut self, id: SessionId) -> Result<(), Failure> {
        let mut pids = pids(Path::new(PROC))
            .failing(FailureKind::System, || "look through the processes".into())?;
        pids.sort_unstable();
        let omitted = pids.len().saturating_sub(MOST);
        pids.truncate(MOST);
        // One that ends meanwhile is none.
        let list: Vec<_> = pids
            .iter()
            .filter_map(|pid| look_at(&Path::new(PROC).join(pid.to_string()), *pid))
            .collect();
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        for list in list.chunks(AT_ONCE) {
            session.tell(&Event::Processes(list.to_vec()));
        }
        session.finish(&Event::ProcessesEnd {
            omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        });
        Ok(())
    }
}

fn pids(proc: &Path) -> std::io::Result<Vec<i32>> {
    let names = fs::read_dir(proc)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

fn look_at(directory: &Path, pid: i32) -> Option<ProcessInfo> {
    let stat = fs::read(directory.join("stat")).ok()?;
    let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| {
        line.strip_prefix("Uid:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let mut info = parse_stat(&stat, pid)?;
    info.uid = uid.unwrap_or(0);
    let line = fs::read(directory.join("cmdline")).unwrap_or_default();
    if let Some(command) = command(&line) {
        info.command = command;
    }
    Some(info)
}

/// Words with blanks between them; `None` for a process without any: a zombie.
fn command(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let mut command: Vec<u8> = line
        .iter()
        .map(|&byte| if byte == 0 { b' ' } else { byte })
        .collect();
    command.truncate(COMMAND);
    (!command.is_empty()).then_some(command)
}

/// `PID (NAME) STATE PARENT ...`; the name may hold anything, parentheses too.
fn parse_stat(stat: &[u8], pid: i32) -> Option<ProcessInfo> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let name = stat.get(open + 1..close)?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // Counted from 3, the state, as proc(5) does.
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    Some(ProcessInfo {
        pid,
        parent: field(4)?.parse().ok()?,
        uid: 0,
        state: *field(3)?.as_bytes().first()?,
        threads: u32::try_from(number(20)?).ok()?,
        cpu_ms: (number(14)? + number(15)?) * MILLISECONDS_PER_TICK,
        rss_kib: number(24)? * KIB_PER_PAGE,
        command: [b"[", name, b"]"].concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = b"7 (a) R (b) S 1 7 7 0 -1 4194560 136 0 0 0 12 3 0 0 20 0 4 0 100 8192000 250 18446744073709551615";
        let info = parse_stat(stat, 7).unwrap();
        assert_eq!(info.command, b"[a) R (b]");
        assert_eq!((info.parent, info.state, info.threads), (1, b'S', 4));
        assert_eq!((info.cpu_ms, info.rss_kib), (150, 1000));
        for cut in 0..stat.len() {
            let _ = parse_stat(&stat[..cut], 7);
        }
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(pids(Path::new(PROC)).unwrap().contains(&own));
        let info = look_at(Path::new("/proc/self"), own).unwrap();
        assert!(info.threads > 0 && info.rss_kib > 0);
        assert!(!info.command.is_empty() && info.command.len() <= COMMAND);
    }

    #[test]
    fn words_are_joined_and_a_zombie_has_none() {
        assert_eq!(command(b"sh\0-c\0x y\0").unwrap(), b"sh -c x y");
        assert_eq!(command(b""), None);
    }
}
