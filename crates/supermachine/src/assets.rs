//! The programs and files a VM is made of, and where they are looked for.

use crate::RELEASE;
use crate::home::{Home, hex};
use proto::control::KernelFlavor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The VMM's program.
pub(crate) const VMM: &str = "supermachine-vmm";
/// The archive that holds the guest's program.
pub(crate) const INITRAMFS: &str = "initramfs";
/// The list of files with their release and digests.
pub(crate) const MANIFEST: &str = "assets.json";

/// The file of a kernel.
pub(crate) fn kernel_file(flavor: KernelFlavor) -> String {
    format!("kernel-{}", flavor.name())
}

/// Why no complete set of assets was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssetError {
    /// A directory that was named lacks files.
    #[error("{dir} lacks {}", missing.join(", "))]
    Incomplete {
        /// The directory.
        dir: PathBuf,
        /// What is not there.
        missing: Vec<String>,
    },
    /// No directory of the search has them.
    #[error(
        "supermachine-vmm, its kernel and its initramfs were not found; looked in {}",
        list(looked_in)
    )]
    NotFound {
        /// Where, in order.
        looked_in: Vec<PathBuf>,
    },
    /// The files belong to another release.
    #[error("{path} is of release {found}, this program is of release {RELEASE}")]
    Release {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A file is not what the list of assets says.
    #[error(
        "{path} is damaged or of another build: its digest is {found}, {MANIFEST} says {expected}"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The listed digest.
        expected: String,
    },
    /// The list of assets cannot be understood.
    #[error("{path} is not a list of assets")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file cannot be read or copied.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn list(dirs: &[PathBuf]) -> String {
    dirs.iter()
        .map(|dir| dir.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// `assets.json`: the release, and the digest of each file that is not built with the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The release all files belong to.
    pub(crate) release: String,
    /// SHA-256 in hexadecimal digits, by file name.
    pub(crate) files: BTreeMap<String, String>,
}

/// A complete set of assets in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assets {
    pub(crate) dir: PathBuf,
    pub(crate) kernels: Vec<KernelFlavor>,
    pub(crate) manifest: Manifest,
}

impl Assets {
    /// The set in `dir`. Digests are not checked: that would read 40 MB at every start.
    pub(crate) fn open(dir: &Path) -> Result<Self, AssetError> {
        let kernels: Vec<_> = [KernelFlavor::Standard, KernelFlavor::SoftwareKvm]
            .into_iter()
            .filter(|flavor| dir.join(kernel_file(*flavor)).is_file())
            .collect();
        let mut missing: Vec<String> = [VMM, INITRAMFS, MANIFEST]
            .into_iter()
            .filter(|name| !dir.join(name).is_file())
            .map(str::to_owned)
            .collect();
        if kernels.is_empty() {
            missing.push("kernel-standard or kernel-software-kvm".to_owned());
        }
        if !missing.is_empty() {
            return Err(AssetError::Incomplete {
                dir: dir.to_owned(),
                missing,
            });
        }
        let path = dir.join(MANIFEST);
        let text = fs::read(&path).map_err(|source| AssetError::Read {
            path: path.clone(),
            source,
        })?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|source| AssetError::Manifest {
                path: path.clone(),
                source,
            })?;
        if manifest.release != RELEASE {
            return Err(AssetError::Release {
                path,
                found: manifest.release,
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            kernels,
            manifest,
        })
    }

    pub(crate) fn vmm(&self) -> PathBuf {
        self.dir.join(VMM)
    }

    pub(crate) fn initramfs(&self) -> PathBuf {
        self.dir.join(INITRAMFS)
    }

    pub(crate) fn kernel(&self, flavor: KernelFlavor) -> PathBuf {
        self.dir.join(kernel_file(flavor))
    }

    /// Every file of the set but the list.
    pub(crate) fn files(&self) -> Vec<String> {
        let kernels = self.kernels.iter().map(|flavor| kernel_file(*flavor));
        [VMM.to_owned(), INITRAMFS.to_owned()]
            .into_iter()
            .chain(kernels)
            .collect()
    }

    /// Compares every listed file with its digest.
    pub(crate) fn verify(&self) -> Result<(), AssetError> {
        for name in self.files() {
            let Some(expected) = self.manifest.files.get(&name) else {
                continue;
            };
            let path = self.dir.join(name);
            let found = file_digest(&path).map_err(|source| AssetError::Read {
                path: path.clone(),
                source,
            })?;
            if found != *expected {
                return Err(AssetError::Digest {
                    path,
                    found,
                    expected: expected.clone(),
                });
            }
        }
        Ok(())
    }
}

/// SHA-256 of a file in hexadecimal digits.
pub(crate) fn file_digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// Finds the assets: the directory given to the builder, else `$SUPERMACHINE_LIBEXEC`, else next to the
/// running program, in its `../libexec/supermachine`, or what `setup` installed. PATH is never searched: it
/// may name directories others write to.
pub(crate) fn find(given: Option<&Path>, home: &Home) -> Result<Assets, AssetError> {
    let named = given.map(Path::to_owned).or_else(libexec_from_environment);
    if let Some(dir) = named {
        return Assets::open(&dir);
    }
    let candidates = [beside_program(), installed(&home.kernels())].concat();
    search(&candidates, home)
}

fn search(candidates: &[PathBuf], home: &Home) -> Result<Assets, AssetError> {
    let mut telling = None;
    for dir in candidates {
        match Assets::open(dir) {
            Ok(assets) => return Ok(assets),
            // A directory that has some of our files is the one that was meant.
            Err(AssetError::Incomplete { missing, .. }) if missing.len() == 4 => {}
            Err(error) => telling = telling.or(Some(error)),
        }
    }
    let mut looked_in = candidates.to_vec();
    looked_in.push(home.kernels());
    looked_in.dedup();
    Err(telling.unwrap_or(AssetError::NotFound { looked_in }))
}

fn libexec_from_environment() -> Option<PathBuf> {
    std::env::var_os("SUPERMACHINE_LIBEXEC")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
}

fn beside_program() -> Vec<PathBuf> {
    let Some(dir) = std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned))
    else {
        return Vec::new();
    };
    let libexec = dir.parent().map(|above| above.join("libexec/supermachine"));
    [Some(dir), libexec].into_iter().flatten().collect()
}

/// What `setup` installed, the newest first.
fn installed(kernels: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(kernels)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().len() == 64)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn write_set(dir: &Path, release: &str) {
        fs::create_dir_all(dir).unwrap();
        for name in [VMM, INITRAMFS, "kernel-standard"] {
            fs::write(dir.join(name), name).unwrap();
        }
        let files = [INITRAMFS, "kernel-standard"]
            .into_iter()
            .map(|name| (name.to_owned(), file_digest(&dir.join(name)).unwrap()))
            .collect();
        let manifest = Manifest {
            release: release.to_owned(),
            files,
        };
        fs::write(dir.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    #[test]
    fn a_set_with_one_kernel_flavor_is_complete_and_verifies() {
        let dir = tempfile::tempdir().unwrap();
        write_set(dir.path(), RELEASE);
        let assets = Assets::open(dir.path()).unwrap();
        assert_eq!(assets.kernels, [KernelFlavor::Standard]);
        assets.verify().unwrap();
    }

    #[test]
    fn a_flipped_byte_is_named_by_verify() {
        let dir = tempfile::tempdir().unwrap();
        write_set(dir.path(), RELEASE);
        fs::write(dir.path().join("kernel-standard"), "other").unwrap();
        let error = Assets::open(dir.path()).unwrap().verify().unwrap_err();
        assert!(
            matches!(error, AssetError::Digest { path, .. } if path.ends_with("kernel-standard"))
        );
    }

    #[test]
    fn another_release_is_refused_naming_both() {
        let dir = tempfile::tempdir().unwrap();
        write_set(dir.path(), "9.9.9");
        let error = Assets::open(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("9.9.9") && error.contains(RELEASE),
            "{error}"
        );
    }

    #[test]
    fn the_search_takes_the_first_complete_set_and_passes_over_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("home")).unwrap();
        let [stranger, partial, first, second] =
            ["stranger", "partial", "first", "second"].map(|name| dir.path().join(name));
        fs::create_dir(&stranger).unwrap();
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join(VMM), "").unwrap();
        write_set(&first, RELEASE);
        write_set(&second, RELEASE);
        let candidates = [stranger.clone(), partial.clone(), first.clone(), second];
        assert_eq!(search(&candidates, &home).unwrap().dir, first);
        assert!(
            matches!(search(&[stranger.clone(), partial.clone()], &home), Err(AssetError::Incomplete { dir, .. }) if dir == partial)
        );
        assert!(matches!(
            search(&[stranger], &home),
            Err(AssetError::NotFound { .. })
        ));
    }
}
