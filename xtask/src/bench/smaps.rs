//! The memory of a process, from `/proc/PID/smaps`: what is its own and what is its guest's.

use anyhow::{Context, Result, bail};

/// A guest's memory may be merged with what lies next to it; more than this much extra is something else.
const MERGED_KIB: u64 = 64 << 10;

/// Proportional set size of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Of all mappings but the guest's memory.
    pub own_kib: u64,
    /// Of the guest's memory.
    pub guest_kib: u64,
}

/// One mapping.
struct Mapping {
    size_kib: u64,
    pss_kib: u64,
    anonymous: bool,
}

/// Looks at a running process.
pub fn footprint(pid: u32, guest_memory_mib: u32) -> Result<Footprint> {
    let path = format!("/proc/{pid}/smaps");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    parse(&text, u64::from(guest_memory_mib) << 10)
}

/// The guest's memory is recognized by its size: the one mapping without a file on disk that is as large as the
/// guest's memory or a little larger.
fn parse(text: &str, guest_kib: u64) -> Result<Footprint> {
    let mappings = mappings(text)?;
    let is_guest = |mapping: &&Mapping| {
        mapping.anonymous && (guest_kib..guest_kib + MERGED_KIB).contains(&mapping.size_kib)
    };
    let guest: Vec<&Mapping> = mappings.iter().filter(is_guest).collect();
    let [guest] = guest[..] else {
        bail!(
            "{} mappings look like the guest's memory of {guest_kib} KiB",
            guest.len()
        );
    };
    let all: u64 = mappings.iter().map(|mapping| mapping.pss_kib).sum();
    Ok(Footprint {
        own_kib: all - guest.pss_kib,
        guest_kib: guest.pss_kib,
    })
}

fn mappings(text: &str) -> Result<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if !first.ends_with(':') {
            mappings.push(Mapping {
                size_kib: 0,
                pss_kib: 0,
                anonymous: is_anonymous(line),
            });
            continue;
        }
        let Some(mapping) = mappings.last_mut() else {
            bail!("smaps begins with `{line}`");
        };
        let field = match first {
            "Size:" => &mut mapping.size_kib,
            "Pss:" => &mut mapping.pss_kib,
            _ => continue,
        };
        *field = words
            .next()
            .and_then(|word| word.parse().ok())
            .with_context(|| format!("smaps: `{line}`"))?;
    }
    Ok(mappings)
}

/// `address perms offset dev inode [path]`: no path, a memfd, or shared anonymous memory.
fn is_anonymous(header: &str) -> bool {
    let path = header.split_whitespace().nth(5).unwrap_or_default();
    path.is_empty()
        || path.starts_with("/memfd:")
        || path == "/dev/zero"
        || path.starts_with("[anon")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d000000000-55d000100000 r-xp 00000000 fd:00 42                         /usr/bin/vmm
Size:               1024 kB
KernelPageSize:        4 kB
Pss:                 300 kB
Pss_Dirty:             0 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
Size:             262144 kB
Pss:               40000 kB
7f0020000000-7f0020010000 rw-p 00000000 00:00 0                          [heap]
Size:                 64 kB
Pss:                  12 kB
";

    #[test]
    fn the_guests_memory_is_told_from_the_vmms_own() {
        let footprint = parse(SMAPS, 256 << 10).unwrap();
        assert_eq!(
            footprint,
            Footprint {
                own_kib: 312,
                guest_kib: 40000
            }
        );
    }

    #[test]
    fn memory_of_another_size_is_not_taken_for_the_guests() {
        let error = parse(SMAPS, 512 << 10).unwrap_err().to_string();
        assert!(error.starts_with("0 mappings look like"), "{error}");
    }

    #[test]
    fn a_mapped_file_of_that_size_is_not_the_guests_memory() {
        let text = SMAPS
            .replace("[heap]", "/big")
            .replace(" 64 kB", " 262144 kB");
        assert_eq!(parse(&text, 256 << 10).unwrap().own_kib, 312);
    }
}
