//! Writing a running VM down.

use super::hold::Access;
use super::plan::Facts;
use super::thread::Provenance;
use crate::error::Error;
use crate::saved::{
    self, Content, MEMORY_FILE, Origin, STATE_FILE, SavedError, Staging, by_digest,
};
use crate::scratch::layers;
use crate::storage::StorageError;
use ::snapshot::Digest;
use ::snapshot::manifest::{Disk, Image, Kind};
use proto::control::{Contents, DiskMode};
use proto::guest::disk;
use proto::session::Freeze;
use serde_json::json;
use std::path::PathBuf;

/// The member of a manifest's workload facts that holds [`Facts`].
pub(crate) const FACTS: &str = "vm";

/// A VM that is copied.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) facts: Facts,
    pub(super) provenance: Provenance,
    /// Its directory, which has its writable disk.
    pub(super) dir: PathBuf,
    /// What a flush of that disk is for.
    pub(super) disk_mode: DiskMode,
}

/// Where a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// Into files, which others may read later.
    ToFiles,
    /// Into another process of the same person.
    InMemory,
}

/// A volume has one writer, and is not of the moment of the copy. Secrets are not to be in files.
pub(super) fn can_be_copied(subject: &Subject, how: Copied) -> Result<(), StorageError> {
    let storage = &subject.facts.config.storage;
    if storage.has_volumes() {
        return Err(StorageError::NoCopy("volumes"));
    }
    if how == Copied::ToFiles && !storage.secrets.is_empty() {
        return Err(StorageError::NoCopy("secrets"));
    }
    Ok(())
}

/// Writes a VM down under a name. The VM goes on, whatever fails, and nothing half-made is left.
pub(super) fn create(access: &Access, subject: &Subject, name: &str) -> Result<(), Error> {
    can_be_copied(subject, Copied::ToFiles)?;
    let home = &subject.provenance.home;
    let shelf = home.snapshots();
    let taken = || SavedError::NameTaken(name.to_owned());
    if shelf.path(name).exists() {
        return Err(taken().into());
    }
    shelf.sweep()?;
    let base = standing_base(subject)?;
    let staging = Staging::create(shelf.dir())?;
    let (state, memory) = (staging.file(STATE_FILE)?, staging.file(MEMORY_FILE)?);
    let contents = match base {
        Some(_) => Contents::Changes,
        None => Contents::Everything,
    };
    layers::merge_many(&subject.dir)?;
    let (pages, disk) = {
        let held = access.hold(Freeze { drop_caches: true })?;
        let pages = held.save(contents, &state, &memory)?;
        // While nobody writes to it.
        (pages, held.share_disk(subject)?)
    };
    let disk = layers::adopt(disk, staging.dir())?;
    let origin = Origin {
        assets: &subject.provenance.assets,
        kernel: subject.provenance.kernel,
        memory_mib: subject.facts.config.memory.shape_mib(),
        vcpus: subject.facts.config.cpus,
        base,
    };
    saved::seal(
        &staging,
        &origin,
        content(
            subject,
            name,
            pages,
            (layers::names(staging.dir())?, disk.bytes),
        )?,
    )?;
    // Nobody takes the base away between this look and the name that keeps it.
    let _lock = home.templates().lock()?;
    if base.is_some() && standing_base(subject)? != base {
        let path = shelf.path(name);
        return Err(base
            .map(|base| SavedError::BaseMissing { path, base })
            .unwrap_or_else(taken)
            .into());
    }
    if staging.publish(&shelf.path(name))? {
        Ok(())
    } else {
        Err(taken().into())
    }
}

/// What the VM was restored from, if it is still there to build upon.
fn standing_base(subject: &Subject) -> Result<Option<Digest>, SavedError> {
    let Some(base) = subject.provenance.base else {
        return Ok(None);
    };
    Ok(by_digest(&subject.provenance.home, &base)?.map(|saved| saved.digest))
}

fn content(
    subject: &Subject,
    name: &str,
    pages: u64,
    (files, bytes): (Vec<String>, u64),
) -> Result<Content, SavedError> {
    let image = &subject.provenance.image;
    let unusable = |what| SavedError::Facts {
        path: subject.provenance.home.snapshots().path(name),
        what,
    };
    let disk = |slot, bytes, files| Disk { slot, bytes, files };
    Ok(Content {
        kind: Kind::Snapshot,
        name: name.to_owned(),
        pages,
        image: Some(Image {
            reference: image.reference.clone(),
            digest: image
                .digest
                .parse()
                .map_err(|_| unusable("digest of the image"))?,
        }),
        disks: vec![
            disk(
                disk::ROOT,
                image.root.pieces.iter().map(|piece| piece.len).sum(),
                Vec::new(),
            ),
            disk(disk::SCRATCH, bytes, files),
        ],
        workload: json!({
            FACTS: serde_json::to_value(&subject.facts).map_err(|_| unusable("workload"))?,
        }),
    })
}
