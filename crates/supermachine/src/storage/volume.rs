//! Named volumes: ext4 disks that outlive VMs.
//!
//! | file of volumes/NAME | what it is |
//! |---|---|
//! | `disk.ext4` | the disk; locked by the very descriptor that the VMM has, so that the lock lasts as long as anybody writes |
//! | `holder` | the name of the VM that had it last, for the error of the next one |

use super::{Access, DEFAULT_VOLUME_SIZE, StorageError};
use crate::home::{Home, random_hex, write_atomically};
use crate::names;
use crate::record::Registry;
use crate::scratch;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const DISK: &str = "disk.ext4";
const HOLDER: &str = "holder";

/// What is known of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Its name.
    pub name: String,
    /// Bytes it can hold.
    pub size: u64,
    /// Bytes it takes up.
    pub used: u64,
    /// When it was made.
    #[serde(serialize_with = "crate::time::as_rfc3339::serialize")]
    pub created: SystemTime,
    /// The VMs that have it, running or not.
    pub vms: Vec<String>,
}

/// The volumes of a state directory.
#[derive(Debug)]
pub(crate) struct Volumes {
    home: Home,
}

/// A volume that a VM may use.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) disk: File,
    pub(crate) len: u64,
}

fn failed<'a, E: Into<io::Error>>(
    step: &'static str,
    path: &'a Path,
) -> impl Fn(E) -> StorageError + 'a {
    move |source| StorageError::File {
        step,
        path: path.to_owned(),
        source: source.into(),
    }
}

impl Volumes {
    pub(crate) fn new(home: &Home) -> Self {
        Self { home: home.clone() }
    }

    fn dir(&self, name: &str) -> Result<PathBuf, StorageError> {
        names::check(name).map_err(|_| StorageError::VolumeName(name.to_owned()))?;
        Ok(self.home.volumes().join(name))
    }

    /// Makes a volume. One that is there already is fine, unless another size is asked for.
    pub(crate) fn create(&self, name: &str, size: Option<u64>) -> Result<(), StorageError> {
        let dir = self.dir(name)?;
        if let Some(len) = self.len(&dir)? {
            return match size {
                Some(size) if size.next_multiple_of(1 << 20) != len => {
                    Err(StorageError::VolumeExists {
                        name: name.to_owned(),
                        size: len,
                    })
                }
                _ => Ok(()),
            };
        }
        // Names have no such start, so nobody takes it for a volume.
        let staging = self.home.volumes().join(format!(".{}", random_hex(16)));
        let made = self
            .fill(&staging, size.unwrap_or(DEFAULT_VOLUME_SIZE))
            .and_then(|()| {
                match fs::rename(&staging, &dir) {
                    Ok(()) => Ok(()),
                    // Somebody else was faster.
                    Err(_) if dir.join(DISK).exists() => {
                        fs::remove_dir_all(&staging).map_err(failed("remove", &staging))
                    }
                    Err(error) => Err(failed("publish", &dir)(error)),
                }
            });
        if made.is_err() {
            let _ = fs::remove_dir_all(&staging);
        }
        made
    }

    fn fill(&self, dir: &Path, size: u64) -> Result<(), StorageError> {
        DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(failed("make", dir))?;
        scratch::create(&self.home, &dir.join(DISK), size)?;
        Ok(())
    }

    fn len(&self, dir: &Path) -> Result<Option<u64>, StorageError> {
        let path = dir.join(DISK);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look at", &path)(error)),
        }
    }

    /// Gives a volume to a VM, until the last copy of the descriptor is closed. It is made where there is none.
    pub(crate) fn attach(
        &self,
        name: &str,
        access: Access,
        vm: &str,
    ) -> Result<Volume, StorageError> {
        self.create(name, None)?;
        let dir = self.dir(name)?;
        let path = dir.join(DISK);
        let (writable, lock) = match access {
            Access::ReadWrite => (true, FlockOperation::NonBlockingLockExclusive),
            Access::ReadOnly => (false, FlockOperation::NonBlockingLockShared),
        };
        let disk = File::options()
            .read(true)
            .write(writable)
            .open(&path)
            .map_err(failed("open", &path))?;
        match flock(&disk, lock) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StorageError::InUse {
                    name: name.to_owned(),
                    holder: holder(&dir),
                });
            }
            Err(errno) => return Err(failed("lock", &path)(errno)),
        }
        let note = dir.join(HOLDER);
        write_atomically(&note, vm.as_bytes()).map_err(failed("write", &note))?;
        let len = disk.metadata().map_err(failed("look at", &path))?.len();
        Ok(Volume { disk, len })
    }

    /// Every volume, by name.
    pub(crate) fn list(&self) -> Result<Vec<VolumeInfo>, crate::Error> {
        let room = self.home.volumes();
        let mut found = Vec::new();
        for entry in fs::read_dir(&room).map_err(failed("list", &room))? {
            let name = entry.map_err(failed("list", &room))?.file_name();
            let Some(name) = name.to_str().filter(|name| names::check(name).is_ok()) else {
                continue;
            };
            match self.info(name) {
                Ok(info) => found.push(info),
                // Removed since the directory was read.
                Err(crate::Error::Storage(StorageError::NoSuchVolume(_))) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// What is known of one.
    pub(crate) fn info(&self, name: &str) -> Result<VolumeInfo, crate::Error> {
        let path = self.dir(name)?.join(DISK);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StorageError::NoSuchVolume(name.to_owned()).into());
            }
            Err(error) => return Err(failed("look at", &path)(error).into()),
        };
        let users = Registry::new(&self.home).users_of_volume(name)?;
        Ok(VolumeInfo {
            name: name.to_owned(),
            size: found.len(),
            used: found.blocks() * 512,
            created: found
                .created()
                .or_else(|_| found.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            vms: users,
        })
    }

    /// Removes one that no VM has, running or not.
    pub(crate) fn remove(&self, name: &str) -> Result<(), crate::Error> {
        let info = self.info(name)?;
        let dir = self.dir(name)?;
        let path = dir.join(DISK);
        let disk = File::open(&path).map_err(failed("open", &path))?;
        match flock(&disk, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = holder(&dir);
                return Err(StorageError::InUse {
                    name: name.to_owned(),
                    holder,
                }
                .into());
            }
            Err(errno) => return Err(failed("lock", &path)(errno).into()),
        }
        if let Some(holder) = info.vms.into_iter().next() {
            return Err(StorageError::Needed {
                name: name.to_owned(),
                holder,
            }
            .into());
        }
        // Out of the way in one step: half a volume is never seen.
        let away = self.home.volumes().join(format!(".{}", random_hex(16)));
        fs::rename(&dir, &away).map_err(failed("remove", &dir))?;
        fs::remove_dir_all(&away).map_err(failed("remove", &away))?;
        Ok(())
    }
}

fn holder(dir: &Path) -> String {
    let name = fs::read_to_string(dir.join(HOLDER)).unwrap_or_default();
    if names::check(name.trim()).is_ok() {
        name
    } else {
        "a VM".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> (tempfile::TempDir, Volumes) {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        (temporary, Volumes::new(&home))
    }

    #[test]
    fn one_vm_writes_or_many_read() {
        let (_temporary, volumes) = volumes();
        let writer = volumes.attach("data", Access::ReadWrite, "web").unwrap();
        for access in [Access::ReadWrite, Access::ReadOnly] {
            let error = volumes.attach("data", access, "other").unwrap_err();
            assert_eq!(error.to_string(), "the volume data is in use by web");
        }
        assert_eq!(
            volumes.remove("data").unwrap_err().to_string(),
            "the volume data is in use by web"
        );
        // The lock is the descriptor's, and a copy of it is as good: the VMM's.
        let copy = writer.disk.try_clone().unwrap();
        drop(writer);
        assert!(volumes.attach("data", Access::ReadWrite, "other").is_err());
        drop(copy);
        let readers = [(); 2].map(|()| volumes.attach("data", Access::ReadOnly, "reader").unwrap());
        assert!(volumes.attach("data", Access::ReadWrite, "other").is_err());
        drop(readers);
        volumes.remove("data").unwrap();
        assert!(volumes.list().unwrap().is_empty());
    }

    #[test]
    fn a_volume_has_the_size_it_was_made_with() {
        let (_temporary, volumes) = volumes();
        volumes.create("data", Some(20 << 20)).unwrap();
        volumes.create("data", None).unwrap();
        let error = volumes.create("data", Some(30 << 20)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the volume data is there already, with 20971520 bytes"
        );
        assert_eq!(volumes.list().unwrap()[0].size, 20 << 20);
        assert!(volumes.create("..", None).is_err());
        assert!(volumes.create("tiny", Some(1)).is_err());
        assert_eq!(fs::read_dir(volumes.home.volumes()).unwrap().count(), 1);
    }
}
