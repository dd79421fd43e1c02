//! What is known of a file in a VM.

use super::error::FilesError;
use proto::files::{Entry, FileKind, Stat};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is known of a file in a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStat {
    /// What it is.
    pub kind: FileKind,
    /// Permissions, with set-user-id, set-group-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of its contents.
    pub size: u64,
    /// Last change of its contents.
    pub modified: SystemTime,
    /// Where a symbolic link leads.
    pub target: Option<OsString>,
}

/// Something in a directory of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry {
    /// Its name.
    pub name: OsString,
    /// What it is itself, links not followed.
    pub stat: FileStat,
}

impl FileStat {
    pub(super) fn new(stat: Stat) -> Self {
        let whole = Duration::from_secs(stat.mtime.unsigned_abs());
        let second = if stat.mtime < 0 {
            UNIX_EPOCH.checked_sub(whole)
        } else {
            UNIX_EPOCH.checked_add(whole)
        };
        let nanos = Duration::from_nanos(stat.mtime_nanos.into());
        let modified = second.and_then(|second| second.checked_add(nanos));
        Self {
            kind: stat.kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            modified: modified.unwrap_or(UNIX_EPOCH),
            target: stat.target.map(OsString::from_vec),
        }
    }
}

/// The entries of a list, each with its length before it.
pub(super) fn entries(mut told: &[u8]) -> Result<Vec<DirEntry>, FilesError> {
    let mut entries = Vec::new();
    while !told.is_empty() {
        let cut = told
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_le_bytes(*len) as usize));
        // Half a message at the end is what its decoder calls cut short.
        let (message, rest) = cut.unwrap_or_default();
        let entry: Entry = proto::decode(message).map_err(FilesError::Nonsense)?;
        entries.push(DirEntry {
            name: OsString::from_vec(entry.name),
            stat: FileStat::new(entry.stat),
        });
        told = rest;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8]) -> Vec<u8> {
        let message = proto::encode(&Entry {
            name: name.to_vec(),
            stat: Stat {
                kind: FileKind::File,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 3,
                mtime: -1,
                mtime_nanos: 500_000_000,
                target: None,
            },
        });
        [&(message.len() as u32).to_le_bytes()[..], &message].concat()
    }

    #[test]
    fn a_list_is_taken_apart_and_half_of_one_is_refused() {
        let told = [entry(b"a"), entry(b"b\xff")].concat();
        let names: Vec<_> = entries(&told)
            .unwrap()
            .into_iter()
            .map(|entry| entry.name.into_vec())
            .collect();
        assert_eq!(names, [b"a".to_vec(), b"b\xff".to_vec()]);
        for end in 1..told.len() {
            if end != entry(b"a").len() {
                assert!(entries(&told[..end]).is_err(), "{end}");
            }
        }
        let before_1970 = entries(&told).unwrap()[0].stat.modified;
        assert_eq!(
            UNIX_EPOCH.duration_since(before_1970).unwrap(),
            Duration::from_millis(500)
        );
    }
}
