//! The mounts in kind: where, which file system, which restrictions.

use super::{Fact, fact};
use std::fs;
use std::io;

/// Super block options that do not follow the machine's size or the paths of whoever mounted.
const OPTIONS: &[&str] = &["mode=", "ptmxmode=", "gid=", "uid="];

/// proc(5), mountinfo: `ID PARENT DEVICE ROOT TARGET OPTIONS TAGS... - TYPE SOURCE SUPER`.
pub fn observe(facts: &mut Vec<Fact>) -> io::Result<()> {
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let (target, kind) = (before[4], after[0]);
        // Which control groups there are, and which files need to be hidden, is up to the kernel of the host.
        if target.starts_with("/proc/") || target.starts_with("/sys/") {
            continue;
        }
        // Whether an access is written down (relatime) is every file system's own default.
        let mut options: Vec<&str> = before[5]
            .split(',')
            .filter(|option| *option != "relatime")
            .collect();
        options.extend(
            after[2]
                .split(',')
                .filter(|option| OPTIONS.iter().any(|known| option.starts_with(known))),
        );
        let kind = match target {
            "/" => "the root",
            _ if target.starts_with("/etc/") => "a file of the host",
            _ => kind,
        };
        fact(
            facts,
            format!("mount {target}"),
            format!("{kind} {}", options.join(",")),
        );
    }
    Ok(())
}
