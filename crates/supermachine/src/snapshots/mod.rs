//! Snapshots that users make of running VMs: a name, and a directory below `snapshots/`.
//!
//! A snapshot of a VM that was itself restored holds what changed since, and names what it builds upon by the digest
//! of its manifest. What others build upon is not removed.

mod info;
mod transfer;

pub use info::SnapshotInfo;

use crate::config::VmConfig;
use crate::error::{ConfigError, Error};
use crate::home::Home;
use crate::names;
use crate::runtime::Runtime;
use crate::saved::{MANIFEST, Saved, SavedError};
use crate::supervisor::{FACTS, Facts, Plan, Source};
use crate::template::SavedUsage;
use crate::vm::Vm;
use proto::guest::disk;
use std::fs::File;
use std::path::Path;

/// A snapshot, ready to start any number of times.
#[derive(Debug, Clone)]
pub struct Snapshot {
    runtime: Runtime,
    saved: Saved,
}

impl Snapshot {
    pub(crate) fn open(runtime: &Runtime, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let path = runtime.state().snapshots().path(name);
        match Saved::open(&path) {
            Ok(saved) => Ok(Self {
                runtime: runtime.clone(),
                saved,
            }),
            Err(_) if !path.exists() => Err(SavedError::NotFound(name.to_owned()).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.saved.manifest.name
    }

    pub(crate) const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What is known about it.
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo::of(self.runtime.state(), &self.saved)
    }

    /// Its manifest, a JSON document.
    pub fn manifest(&self) -> String {
        self.saved.manifest.to_json()
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.saved.dir
    }

    /// Reads everything and compares it with the digests that were taken when it was made; what it builds upon too.
    pub fn verify(&self) -> Result<(), Error> {
        self.saved.verify()?;
        for base in self.saved.bases(self.runtime.state())? {
            base.verify()?;
        }
        Ok(())
    }

    /// Starts a VM that goes on where the one the snapshot was made of was, under a name, host name and identity of
    /// its own. Of `config` counts what is about the VM itself: name, host name, output, retention, deadline.
    /// Standard input of the workload is at its end.
    pub fn start(&self, config: &VmConfig) -> Result<Vm, Error> {
        let home = self.runtime.state();
        let facts = self.facts()?;
        let image = self.saved.manifest.image.as_ref();
        let image = image.ok_or_else(|| self.lacks("image"))?;
        let image = match self
            .runtime
            .boot_image(&image.reference, &image.digest.to_string())
        {
            Err(Error::ImageGone(_)) => return Err(transfer::needed(image)),
            found => found?,
        };
        let plan = Plan::copy(home, &image, &facts, config)?;
        let files = self.saved.files(home)?;
        let source = Source::Snapshot(files, self.disk()?, self.saved.digest);
        self.runtime.launch(image, plan, source)
    }

    fn facts(&self) -> Result<Facts, SavedError> {
        let facts = self.saved.manifest.workload[FACTS].clone();
        serde_json::from_value(facts).map_err(|_| self.lacks("workload"))
    }

    /// The writable disk as it was.
    fn disk(&self) -> Result<Vec<File>, SavedError> {
        let disks = &self.saved.manifest.disks;
        let scratch = disks.iter().find(|disk| disk.slot == disk::SCRATCH);
        let scratch = scratch.filter(|disk| !disk.files.is_empty());
        let names = &scratch.ok_or_else(|| self.lacks("writable disk"))?.files;
        names.iter().map(|name| self.saved.file(name)).collect()
    }

    fn lacks(&self, what: &'static str) -> SavedError {
        SavedError::Facts {
            path: self.saved.dir.join(MANIFEST),
            what,
        }
    }
}

pub(crate) use transfer::{import, pull};

/// Checks the name of a snapshot, which is the name of a directory.
pub(crate) fn check_name(name: &str) -> Result<(), ConfigError> {
    names::check(name)
}

/// Checks the name of a snapshot to be made. Another may take it meanwhile, which is found out when it is published.
pub(crate) fn check_free(home: &Home, name: &str) -> Result<(), Error> {
    check_name(name)?;
    if home.snapshots().path(name).exists() {
        return Err(SavedError::NameTaken(name.to_owned()).into());
    }
    Ok(())
}

/// Every snapshot, oldest first; damaged ones say so.
pub(crate) fn list(home: &Home) -> Result<Vec<SnapshotInfo>, SavedError> {
    let shelf = home.snapshots();
    let mut infos = Vec::new();
    for name in shelf.names()? {
        match Saved::open(&shelf.path(&name)) {
            Ok(saved) => infos.push(SnapshotInfo::of(home, &saved)),
            // It was removed meanwhile.
            Err(_) if !shelf.path(&name).exists() => {}
            Err(error) => infos.push(SnapshotInfo::damaged(home, name, &error)),
        }
    }
    infos.sort_by_key(|info| info.created);
    Ok(infos)
}

/// What snapshots take on the disk.
pub(crate) fn usage(home: &Home) -> Result<SavedUsage, SavedError> {
    let infos = list(home)?;
    Ok(SavedUsage {
        count: infos.len(),
        bytes: infos.iter().map(|info| info.bytes).sum(),
        reclaimable: 0,
    })
}

/// Removes one, damaged or not, unless others build upon it.
pub(crate) fn remove(home: &Home, name: &str) -> Result<(), Error> {
    check_name(name)?;
    let shelf = home.snapshots();
    // Nobody begins to build upon it meanwhile.
    let _lock = home.templates().lock().map_err(Error::from)?;
    if !shelf.path(name).exists() {
        return Err(SavedError::NotFound(name.to_owned()).into());
    }
    if let Ok(saved) = Saved::open(&shelf.path(name)) {
        let needs_it = |other: &Saved| other.manifest.base == Some(saved.digest);
        let others = shelf.readable()?;
        let by: Vec<_> = others.iter().filter(|other| needs_it(other)).collect();
        if !by.is_empty() {
            return Err(SavedError::NeededBy {
                name: name.to_owned(),
                by: by.into_iter().map(Saved::name).collect(),
            }
            .into());
        }
    }
    Ok(shelf.remove(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saved::tests::{home, manifest, put};
    use ::snapshot::manifest::Kind;

    #[test]
    fn damaged_snapshots_are_listed_as_such_and_can_be_removed() {
        let (_temporary, home) = home();
        let shelf = home.snapshots();
        let base = put(&shelf.path("base"), &manifest(Kind::Snapshot, "base", None));
        put(
            &shelf.path("next"),
            &manifest(Kind::Snapshot, "next", Some(base)),
        );
        assert!(matches!(
            remove(&home, "base"),
            Err(Error::Saved(SavedError::NeededBy { by, .. })) if by == ["next"]
        ));
        std::fs::write(shelf.path("base").join(MANIFEST), "{}").unwrap();
        let problems: Vec<_> = list(&home)
            .unwrap()
            .into_iter()
            .map(|info| (info.name, info.problem.is_some()))
            .collect();
        assert!(
            problems.contains(&("base".into(), true)) && problems.contains(&("next".into(), true))
        );
        remove(&home, "base").unwrap();
        remove(&home, "next").unwrap();
        assert_eq!(usage(&home).unwrap(), SavedUsage::default());
        for name in ["../vms", ".lock", ""] {
            assert!(
                matches!(remove(&home, name), Err(Error::Config(_))),
                "{name}"
            );
        }
    }
}
