//! Reading the guest's last words.

use super::VmmError;
use proto::guest::{AGENT_DIED_PREFIX, FATAL_PREFIX};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the end of a file is looked at, and how many of its lines are shown.
const TAIL_BYTES: u64 = 16 << 10;
const TAIL_LINES: usize = 25;

/// What Linux writes before it gives up.
const PANIC: &str = "Kernel panic - not syncing: ";

/// The last lines of a text file, made printable.
pub(super) fn tail(path: &Path) -> String {
    let Ok(mut file) = File::open(path) else {
        return String::new();
    };
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))
        .and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    last_lines(&String::from_utf8_lossy(&bytes))
}

fn last_lines(text: &str) -> String {
    let clean = |line: &str| -> String {
        // A guest may write anything here, terminal control sequences too.
        line.chars()
            .filter(|c| !c.is_control() || *c == '\t')
            .collect()
    };
    let lines: Vec<String> = text
        .lines()
        .map(clean)
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// What a guest that reset itself meant by it, from the end of its console.
pub(super) fn verdict(console_path: &Path) -> VmmError {
    judge(tail(console_path))
}

fn judge(console: String) -> VmmError {
    let after = |mark: &str| {
        console
            .lines()
            .rev()
            .find_map(|line| line.split_once(mark))
            .map(|(_, reason)| reason.trim().to_owned())
    };
    // PID 1's own words first: its end makes the kernel panic.
    if let Some(reason) = after(AGENT_DIED_PREFIX) {
        return VmmError::AgentDied { reason, console };
    }
    if let Some(reason) = after(FATAL_PREFIX) {
        return VmmError::GuestFatal { reason, console };
    }
    if let Some(reason) = after(PANIC) {
        return VmmError::GuestPanicked { reason, console };
    }
    VmmError::PoweredOff { console }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_from_a_fatal_init_and_an_orderly_end() {
        let panic = "[    0.1] boot\r\n[    0.2] Kernel panic - not syncing: VFS: no root\r\n[    0.3] CPU: 0\r\n";
        assert!(
            matches!(judge(last_lines(panic)), VmmError::GuestPanicked { reason, .. } if reason == "VFS: no root")
        );
        let fatal = "supermachine: init\nsupermachine: fatal: mount /dev/vda: EINVAL\nKernel panic - not syncing: Attempted to kill init!\n";
        assert!(
            matches!(judge(last_lines(fatal)), VmmError::GuestFatal { reason, .. } if reason == "mount /dev/vda: EINVAL")
        );
        let died = "supermachine: init\nsupermachine: agent died: it was killed by signal 9\n";
        assert!(
            matches!(judge(last_lines(died)), VmmError::AgentDied { reason, .. } if reason == "it was killed by signal 9")
        );
        assert!(matches!(
            judge(last_lines("supermachine: init\n")),
            VmmError::PoweredOff { .. }
        ));
    }

    #[test]
    fn terminal_control_sequences_of_a_guest_are_not_passed_on() {
        assert_eq!(last_lines("a\x1b[2Jb\x07\n\n\nc\r\n"), "a[2Jb\nc");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let kept = last_lines(&text);
        assert_eq!(kept.lines().count(), TAIL_LINES);
        assert!(kept.ends_with("line 99"));
    }
}
