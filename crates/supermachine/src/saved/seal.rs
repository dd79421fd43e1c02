//! The manifest of a VM that was just saved, and what its digests are of.

use super::directory::compare;
use super::error::{SavedError, failed};
use super::staging::Staging;
use super::{MANIFEST, MEMORY_FILE, STATE_FILE, disk, host};
use crate::RELEASE;
use crate::assets::{Assets, INITRAMFS, file_digest, kernel_file};
use crate::time::unix_nanos;
use ::snapshot::manifest::{Disk, Image, Kernel, Kind, Manifest, Memory, StateFile};
use ::snapshot::{Digest, memory};
use proto::control::KernelFlavor;
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

/// The member of a manifest's workload facts that holds the digest of the writable disk.
const DISK_DIGEST: &str = "disk_digest";

/// Where a VM came from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) assets: &'a Assets,
    pub(crate) kernel: KernelFlavor,
    pub(crate) memory_mib: u32,
    pub(crate) vcpus: u8,
    /// Digest of the manifest of what the memory file is a difference to.
    pub(crate) base: Option<Digest>,
}

/// What was saved.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// As the VMM counted them.
    pub(crate) pages: u64,
    pub(crate) image: Option<Image>,
    pub(crate) disks: Vec<Disk>,
    /// An object; what the library wants to know when the VM goes on.
    pub(crate) workload: Value,
}

/// Makes what the VMM wrote durable and writes the manifest for it.
pub(crate) fn seal(
    staging: &Staging,
    origin: &Origin<'_>,
    mut content: Content,
) -> Result<Manifest, SavedError> {
    let path = staging.dir().join(STATE_FILE);
    let state = fs::read(&path).map_err(failed("read", &path))?;
    sync(&path)?;
    let memory = memory_of(staging, origin, content.pages)?;
    for disk in &content.disks {
        if disk.files.is_empty() {
            continue;
        }
        let digest = disk::digest(staging.dir(), &disk.files)?;
        content.workload[DISK_DIGEST] = Value::String(digest.to_string());
        for name in &disk.files {
            sync(&staging.dir().join(name))?;
        }
    }
    let manifest = Manifest {
        kind: content.kind,
        name: content.name,
        created_ns: unix_nanos(SystemTime::now()),
        release: RELEASE.to_owned(),
        kernel: Kernel {
            flavor: origin.kernel.name().to_owned(),
            digest: asset_digest(origin.assets, &kernel_file(origin.kernel))?,
        },
        initramfs: asset_digest(origin.assets, INITRAMFS)?,
        memory_mib: origin.memory_mib,
        vcpus: origin.vcpus,
        cpu: host::cpu()?,
        host: host::host()?,
        base: origin.base,
        state: StateFile {
            bytes: state.len() as u64,
            digest: Digest::of(&state),
        },
        memory,
        image: content.image,
        disks: content.disks,
        workload: content.workload,
    };
    staging.write(MANIFEST, manifest.to_json().as_bytes())?;
    Ok(manifest)
}

fn memory_of(staging: &Staging, origin: &Origin<'_>, pages: u64) -> Result<Memory, SavedError> {
    let path = staging.dir().join(MEMORY_FILE);
    let file = File::open(&path).map_err(failed("open", &path))?;
    let digest = memory::digest(&file, u64::from(origin.memory_mib) << 20).map_err(|source| {
        SavedError::Memory {
            path: path.clone(),
            source,
        }
    })?;
    file.sync_all().map_err(failed("sync", &path))?;
    Ok(Memory { pages, digest })
}

pub(super) fn sync(path: &Path) -> Result<(), SavedError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed("sync", path))
}

/// As the list of assets says, else by reading the file.
fn asset_digest(assets: &Assets, name: &str) -> Result<Digest, SavedError> {
    let path = assets.dir.join(name);
    let hex = match assets.manifest.files.get(name) {
        Some(hex) => hex.clone(),
        None => file_digest(&path).map_err(failed("read", &path))?,
    };
    format!("sha256:{hex}")
        .parse()
        .map_err(|_| SavedError::Facts {
            path,
            what: "digest of an asset",
        })
}

/// The digest of a snapshot's writable disk.
pub(super) fn disk_digest(manifest: &Manifest) -> Option<Digest> {
    manifest.workload[DISK_DIGEST].as_str()?.parse().ok()
}

/// Compares a snapshot's disk with what its manifest says.
pub(super) fn verify_disk(manifest: &Manifest, disk: &Disk, dir: &Path) -> Result<(), SavedError> {
    let expected = disk_digest(manifest).ok_or_else(|| SavedError::Facts {
        path: dir.join(MANIFEST),
        what: "digest of the disk",
    })?;
    let top = disk
        .files
        .last()
        .map_or(dir.to_owned(), |name| dir.join(name));
    compare(top, disk::digest(dir, &disk.files)?, expected)
}
