//! What a template is good for.

use crate::RELEASE;
use crate::assets::{Assets, VMM};
use crate::error::AssetError;
use crate::home::hex;
use crate::saved::{boot_id, kernel_release};
use ::snapshot::manifest::FORMAT;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// A kind of machine, as precisely as a template has to fit it: its size, and everything that runs in it or below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    key: String,
    pub(crate) memory_mib: u32,
    pub(crate) vcpus: u8,
}

/// The host as far as a template depends on it. With the same boot id goes the same processor.
#[derive(Debug, Clone)]
struct Host {
    boot_id: String,
    kernel: String,
}

impl Shape {
    /// The shape of this size with these programs on this host. Programs are told apart by their digests where the
    /// list of assets has them, and by size, time and inode: reading them would cost more than a restore.
    pub(crate) fn of(assets: &Assets, memory_mib: u32, vcpus: u8) -> Result<Self, crate::Error> {
        let host = Host {
            boot_id: boot_id()?,
            kernel: kernel_release(),
        };
        Ok(Self::on(&host, assets, memory_mib, vcpus)?)
    }

    fn on(host: &Host, assets: &Assets, memory_mib: u32, vcpus: u8) -> Result<Self, AssetError> {
        let mut hash = Sha256::new();
        let mut add = |fact: &str| {
            hash.update((fact.len() as u64).to_le_bytes());
            hash.update(fact);
        };
        add(&format!("{FORMAT} {memory_mib} {vcpus}"));
        add(RELEASE);
        add(&host.boot_id);
        add(&host.kernel);
        for name in assets.files() {
            let path = assets.dir.join(&name);
            let metadata =
                fs::metadata(&path).map_err(|source| AssetError::Read { path, source })?;
            add(&name);
            if let Some(digest) = assets.manifest.files.get(&name).filter(|_| name != VMM) {
                add(digest);
                continue;
            }
            add(&format!(
                "{} {} {} {}.{:09}",
                metadata.dev(),
                metadata.ino(),
                metadata.len(),
                metadata.mtime(),
                metadata.mtime_nsec()
            ));
        }
        Ok(Self {
            key: hex(&hash.finalize()),
            memory_mib,
            vcpus,
        })
    }

    /// The name of its template.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::tests::write_set;

    #[test]
    fn anything_that_changes_what_runs_changes_the_shape() {
        let dir = tempfile::tempdir().unwrap();
        write_set(dir.path(), RELEASE);
        let assets = Assets::open(dir.path()).unwrap();
        let host = Host {
            boot_id: "a".into(),
            kernel: "6.18".into(),
        };
        let shape = |host: &Host, assets: &Assets, mib| Shape::on(host, assets, mib, 1).unwrap();
        let first = shape(&host, &assets, 512);
        assert_eq!(shape(&host, &assets, 512), first);
        let rebooted = Host {
            boot_id: "b".into(),
            ..host.clone()
        };
        let mut another_kernel = assets.clone();
        another_kernel
            .manifest
            .files
            .insert("kernel-standard".into(), "00".into());
        let others = [
            shape(&host, &assets, 1024),
            Shape::on(&host, &assets, 512, 2).unwrap(),
            shape(&rebooted, &assets, 512),
            shape(&host, &another_kernel, 512),
        ];
        fs::write(dir.path().join(VMM), "another vmm").unwrap();
        let another_vmm = shape(&host, &assets, 512);
        for other in others.iter().chain([&another_vmm]) {
            assert_ne!(other.key(), first.key());
        }
    }
}
