//! Templates nobody needs any more.

use crate::home::{Home, random_hex};
use crate::saved::{MANIFEST, Saved, SavedError, boot_id, on_disk};
use ::snapshot::Digest;
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, SystemTime};

/// One that nobody used for so long is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the templates or snapshots of a state directory take on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SavedUsage {
    /// How many there are.
    pub count: usize,
    /// What they take.
    pub bytes: u64,
    /// What a prune would free.
    pub reclaimable: u64,
}

/// Looks at every template.
pub(crate) fn usage(home: &Home) -> Result<SavedUsage, SavedError> {
    let shelf = home.templates();
    let judge = Judge::new(home)?;
    let mut usage = SavedUsage::default();
    for name in shelf.names()? {
        // What vanishes meanwhile takes nothing.
        let bytes = on_disk(&shelf.path(&name)).unwrap_or(0);
        usage.count += 1;
        usage.bytes += bytes;
        if judge.is_useless(home, &name) {
            usage.reclaimable += bytes;
        }
    }
    Ok(usage)
}

/// Removes useless templates and what killed makers left; what was removed.
pub(crate) fn prune(home: &Home) -> Result<SavedUsage, SavedError> {
    let _lock = home.templates().lock()?;
    home.templates().sweep()?;
    home.snapshots().sweep()?;
    collect(home)
}

/// As [`prune`], for those who have the lock.
pub(super) fn collect(home: &Home) -> Result<SavedUsage, SavedError> {
    let shelf = home.templates();
    let judge = Judge::new(home)?;
    let mut removed = SavedUsage::default();
    for name in shelf.names()? {
        if judge.is_useless(home, &name) {
            removed.count += 1;
            removed.bytes += on_disk(&shelf.path(&name)).unwrap_or(0);
            shelf.remove(&name)?;
        }
    }
    Ok(removed)
}

/// Takes a template out of use. What a snapshot builds upon stays under another name: it is found by its digest, and
/// what was wrong with it may have been this host's state of the moment.
pub(super) fn retire(home: &Home, name: &str) -> Result<(), SavedError> {
    let shelf = home.templates();
    let needed = Saved::open(&shelf.path(name))
        .is_ok_and(|saved| Judge::new(home).is_ok_and(|judge| judge.bases.contains(&saved.digest)));
    if needed {
        shelf.rename(name, &format!("{name}-{}", random_hex(8)))
    } else {
        shelf.remove(name)
    }
}

/// Who decides.
struct Judge {
    boot_id: String,
    /// What snapshots build upon.
    bases: HashSet<Digest>,
    now: SystemTime,
}

impl Judge {
    fn new(home: &Home) -> Result<Self, SavedError> {
        let snapshots = home.snapshots().readable()?;
        Ok(Self {
            boot_id: boot_id()?,
            bases: snapshots
                .iter()
                .filter_map(|snapshot| snapshot.manifest.base)
                .collect(),
            now: SystemTime::now(),
        })
    }

    /// A template nobody can restore, or nobody did for long, unless a snapshot builds upon it.
    fn is_useless(&self, home: &Home, name: &str) -> bool {
        let path = home.templates().path(name);
        let Ok(saved) = Saved::open(&path) else {
            return true;
        };
        if self.bases.contains(&saved.digest) {
            return false;
        }
        let used = fs::metadata(path.join(MANIFEST)).and_then(|metadata| metadata.modified());
        let unused = used.is_ok_and(|at| self.now.duration_since(at).is_ok_and(|age| age > UNUSED));
        unused || saved.manifest.host.boot_id != self.boot_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved::tests::{home, manifest, put};
    use ::snapshot::manifest::Kind;
    use std::fs::File;

    #[test]
    fn templates_of_another_boot_or_long_unused_go_unless_a_snapshot_builds_upon_them() {
        let (_temporary, home) = home();
        let shelf = home.templates();
        put(
            &shelf.path("current"),
            &manifest(Kind::Template, "current", None),
        );
        let mut of_another_boot = manifest(Kind::Template, "old", None);
        of_another_boot.host.boot_id = "another".into();
        put(&shelf.path("old"), &of_another_boot);
        of_another_boot.name = "needed".into();
        let needed = put(&shelf.path("needed"), &of_another_boot);
        let snapshot = manifest(Kind::Snapshot, "snapshot", Some(needed));
        put(&home.snapshots().path("snapshot"), &snapshot);
        put(
            &shelf.path("unused"),
            &manifest(Kind::Template, "unused", None),
        );
        let long_ago = SystemTime::now() - UNUSED - Duration::from_secs(60);
        let unused = File::open(shelf.path("unused").join(MANIFEST)).unwrap();
        unused.set_modified(long_ago).unwrap();

        retire(&home, "needed").unwrap();
        retire(&home, "absent").unwrap();
        let before = usage(&home).unwrap();
        let pruned = prune(&home).unwrap();
        assert_eq!((before.count, pruned.count), (4, 2));
        assert_eq!(before.reclaimable, pruned.bytes);
        let names = shelf.names().unwrap();
        assert_eq!(names.len(), 2);
        assert!(names[0] == "current" && names[1].starts_with("needed-"));
        retire(&home, "current").unwrap();
        assert_eq!(shelf.names().unwrap(), names[1..]);
    }
}
