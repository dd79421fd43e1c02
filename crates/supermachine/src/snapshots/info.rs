//! A snapshot as it is shown.

use crate::home::Home;
use crate::saved::{Saved, SavedError, by_digest, on_disk};
use crate::supervisor::{FACTS, Facts};
use crate::time::{as_rfc3339, from_unix_nanos};
use ::snapshot::manifest::Kind;
use serde::Serialize;
use std::time::SystemTime;

/// What is known about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// When it was made.
    #[serde(serialize_with = "as_rfc3339::serialize")]
    pub created: SystemTime,
    /// The image of the VM, as it was asked for.
    pub image: Option<String>,
    /// The digest of the image's manifest.
    pub image_digest: Option<String>,
    /// Program and arguments of the workload, lossy; empty without one.
    pub command: Vec<String>,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Virtual CPUs.
    pub vcpus: u8,
    /// The snapshot it builds upon by name, or `template`.
    pub base: Option<String>,
    /// Pages of 4 KiB in its memory file.
    pub pages: u64,
    /// What it takes on the disk.
    pub bytes: u64,
    /// Why it cannot be used, as far as is seen without reading all of it.
    pub problem: Option<String>,
}

impl SnapshotInfo {
    pub(super) fn of(home: &Home, saved: &Saved) -> Self {
        let manifest = &saved.manifest;
        let facts: Option<Facts> = serde_json::from_value(manifest.workload[FACTS].clone()).ok();
        let command = facts.iter().flat_map(|facts| &facts.argv);
        let image = manifest.image.as_ref();
        let (base, problem) = base_of(home, saved);
        Self {
            name: saved.name(),
            created: from_unix_nanos(manifest.created_ns),
            image: image.map(|image| image.reference.clone()),
            image_digest: image.map(|image| image.digest.to_string()),
            command: command.map(crate::bytes::ByteString::lossy).collect(),
            memory_mib: manifest.memory_mib,
            vcpus: manifest.vcpus,
            base,
            pages: manifest.memory.pages,
            bytes: on_disk(&saved.dir).unwrap_or(0),
            problem,
        }
    }

    pub(super) fn damaged(home: &Home, name: String, error: &SavedError) -> Self {
        let dir = home.snapshots().path(&name);
        let made = std::fs::metadata(&dir).and_then(|metadata| metadata.modified());
        Self {
            name,
            created: made.unwrap_or(SystemTime::UNIX_EPOCH),
            image: None,
            image_digest: None,
            command: Vec::new(),
            memory_mib: 0,
            vcpus: 0,
            base: None,
            pages: 0,
            bytes: on_disk(&dir).unwrap_or(0),
            problem: Some(crate::error::describe(error)),
        }
    }
}

/// The name of what a snapshot builds upon, or what is wrong with that.
fn base_of(home: &Home, saved: &Saved) -> (Option<String>, Option<String>) {
    let Some(digest) = saved.manifest.base else {
        return (None, None);
    };
    match by_digest(home, &digest) {
        Ok(Some(base)) if base.manifest.kind == Kind::Template => (Some("template".into()), None),
        Ok(Some(base)) => (Some(base.name()), None),
        Ok(None) => (
            None,
            Some(format!("what it builds upon ({digest}) is gone")),
        ),
        Err(error) => (None, Some(crate::error::describe(&error))),
    }
}
