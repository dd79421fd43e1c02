//! The members of a manifest.

use crate::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a snapshot is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Template or user's snapshot.
    pub kind: Kind,
    /// The name a user gave it, or the shape of the template; not unique.
    pub name: String,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// The release that made it.
    pub release: String,
    /// The guest kernel in its memory.
    pub kernel: Kernel,
    /// Digest of the initramfs the guest was booted from: which of our guest programs is in its memory.
    pub initramfs: Digest,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// Number of virtual CPUs.
    pub vcpus: u8,
    /// The processor it ran on, for people; what must fit is in the state file.
    pub cpu: Cpu,
    /// The host it was made on.
    pub host: Host,
    /// Digest of the manifest of the snapshot below, whose memory this one changes.
    pub base: Option<Digest>,
    /// The state file.
    pub state: StateFile,
    /// The memory file.
    pub memory: Memory,
    /// The image the workload came from.
    pub image: Option<Image>,
    /// The disks in its slots; a slot that is not listed was empty.
    pub disks: Vec<Disk>,
    /// What the library remembers of the workload. No part of the format looks inside.
    pub workload: Value,
}

/// Who made a snapshot for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A machine in which nothing of any image has been seen.
    Template,
    /// A machine somebody used.
    Snapshot,
}

/// A guest kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The name of its flavor.
    pub flavor: String,
    /// Digest of its file.
    pub digest: Digest,
}

/// A processor as CPUID describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Twelve letters.
    pub vendor: String,
    /// Family, with the extended family added.
    pub family: u32,
    /// Model, with the extended model in front.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Changes with every start of the host: /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
    /// The release of its kernel.
    pub kernel: String,
}

/// What the state file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    /// Its size in bytes.
    pub bytes: u64,
    /// Digest of all of it.
    pub digest: Digest,
}

/// What the memory file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Pages whose contents are in the file.
    pub pages: u64,
    /// What [`crate::memory::digest`] says of it.
    pub digest: Digest,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// As the user wrote it.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
}

/// A disk in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Number of the slot.
    pub slot: u8,
    /// Its size as the guest saw it.
    pub bytes: u64,
    /// The names of the files in the snapshot's directory that make it, the lowest first, as [`crate::disk`] has it;
    /// without any, the disk is the image's.
    pub files: Vec<String>,
}
