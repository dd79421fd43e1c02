//! Installing programs and kernels into the state directory.

use crate::assets::{AssetError, Assets, MANIFEST, Manifest, file_digest};
use crate::home::{Home, hex, random_hex};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What [`crate::Runtime::setup`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupReport {
    /// Where the files are now.
    pub dir: PathBuf,
    /// Where they came from.
    pub source: PathBuf,
    /// Names of the files.
    pub files: Vec<String>,
    /// They were there already and are intact.
    pub already_installed: bool,
}

/// Copies a verified set into `kernels/<digest of its list>`, in which every file is listed.
pub(crate) fn install(assets: &Assets, home: &Home) -> Result<SetupReport, AssetError> {
    assets.verify()?;
    let manifest = complete_manifest(assets)?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(|source| AssetError::Manifest {
        path: assets.dir.join(MANIFEST),
        source,
    })?;
    let dir = home.kernels().join(hex(&Sha256::digest(&text)));
    let report = |already_installed| SetupReport {
        dir: dir.clone(),
        source: assets.dir.clone(),
        files: assets.files(),
        already_installed,
    };
    if Assets::open(&dir).is_ok_and(|there| there.verify().is_ok()) {
        return Ok(report(true));
    }
    let staging = home.kernels().join(format!(".new-{}", random_hex(16)));
    let published = copy(assets, &staging, &text).and_then(|()| publish(&staging, &dir));
    if published.is_err() {
        let _ = fs::remove_dir_all(&staging);
    }
    published
        .map(|()| report(false))
        .map_err(|source| AssetError::Read {
            path: dir.clone(),
            source,
        })
}

fn complete_manifest(assets: &Assets) -> Result<Manifest, AssetError> {
    let mut manifest = Manifest {
        release: assets.manifest.release.clone(),
        files: Default::default(),
    };
    for name in assets.files() {
        let path = assets.dir.join(&name);
        let digest = file_digest(&path).map_err(|source| AssetError::Read { path, source })?;
        manifest.files.insert(name, digest);
    }
    Ok(manifest)
}

fn copy(assets: &Assets, staging: &Path, manifest: &[u8]) -> io::Result<()> {
    fs::create_dir(staging)?;
    for name in assets.files() {
        fs::copy(assets.dir.join(&name), staging.join(&name))?;
        fs::File::open(staging.join(&name))?.sync_all()?;
    }
    fs::write(staging.join(MANIFEST), manifest)
}

/// Puts the finished directory in place; a damaged one that was there goes.
fn publish(staging: &Path, dir: &Path) -> io::Result<()> {
    if dir.exists() {
        let old = dir.with_file_name(format!(".old-{}", random_hex(16)));
        fs::rename(dir, &old)?;
        fs::rename(staging, dir)?;
        return fs::remove_dir_all(old);
    }
    match fs::rename(staging, dir) {
        // Another process published the same content first.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            fs::remove_dir_all(staging)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RELEASE;
    use crate::assets::{VMM, tests::write_set};

    #[test]
    fn setup_installs_once_verifies_and_repairs() {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        write_set(&temporary.path().join("set"), RELEASE);
        let assets = Assets::open(&temporary.path().join("set")).unwrap();

        let first = install(&assets, &home).unwrap();
        assert!(!first.already_installed);
        assert!(install(&assets, &home).unwrap().already_installed);

        fs::write(first.dir.join(VMM), "damaged").unwrap();
        assert!(!install(&assets, &home).unwrap().already_installed);
        Assets::open(&first.dir).unwrap().verify().unwrap();
        assert_eq!(fs::read_dir(home.kernels()).unwrap().count(), 1);
    }
}
