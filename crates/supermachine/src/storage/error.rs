//! What can be wrong with mounts, volumes and secrets.

use crate::scratch::ScratchError;
use std::io;
use std::path::PathBuf;

/// What can be wrong with mounts, volumes and secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Not a place for a mount.
    #[error("nothing can be mounted on {target}: {reason}")]
    Target {
        /// The place.
        target: String,
        /// Why.
        reason: &'static str,
    },
    /// An option of a tmpfs that there is not.
    #[error("{0:?} is not an option of a tmpfs")]
    TmpfsOption(String),
    /// More volumes than a VM has slots.
    #[error("a VM can have 4 volumes, not {0}")]
    TooManyVolumes(usize),
    /// One volume in two places.
    #[error("the volume {0} is mounted twice")]
    VolumeTwice(String),
    /// A size of /dev/shm.
    #[error("/dev/shm cannot have {0} bytes")]
    ShmSize(u64),
    /// Not a kernel parameter.
    #[error("{0:?} is not the name of a kernel parameter")]
    Sysctl(String),
    /// Not an address.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// Not a word for a file of words.
    #[error("{0:?} has a space or another character that {1} cannot hold")]
    Word(String, &'static str),
    /// Not a name for a secret.
    #[error("{0:?} is not a name for a secret: use letters, digits, `_`, `.` and `-`")]
    SecretName(String),
    /// A secret that cannot be read.
    #[error("cannot read the secret {name} from {from}")]
    Secret {
        /// Its name.
        name: String,
        /// Where it should be.
        from: String,
        /// Why.
        source: io::Error,
    },
    /// A secret of more than 500 KiB.
    #[error("the secret {0} has more than 500 KiB")]
    SecretTooLong(String),
    /// Not a name for a volume.
    #[error(
        "{0:?} is not a name for a volume: use letters, digits, `_`, `.` and `-`, two at least"
    )]
    VolumeName(String),
    /// No such volume.
    #[error("no such volume: {0}")]
    NoSuchVolume(String),
    /// A volume that is there already, with another size.
    #[error("the volume {name} is there already, with {size} bytes")]
    VolumeExists {
        /// Its name.
        name: String,
        /// Its size.
        size: u64,
    },
    /// A volume that another VM has.
    #[error("the volume {name} is in use by {holder}")]
    InUse {
        /// Its name.
        name: String,
        /// The VM that has it.
        holder: String,
    },
    /// A volume that a VM which has ended would need again.
    #[error("the volume {name} belongs to {holder}, which could be started again")]
    Needed {
        /// Its name.
        name: String,
        /// The VM.
        holder: String,
    },
    /// The disk of a volume.
    #[error(transparent)]
    Disk(#[from] ScratchError),
    /// A copy of a VM that has what cannot be copied.
    #[error("a VM with {0} cannot be copied")]
    NoCopy(&'static str),
    /// A file of a volume.
    #[error("cannot {step} {path}")]
    File {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StorageError {
    /// What to do about it, where there is something to do.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { holder, .. } => {
                format!("one VM writes to a volume at a time: `supermachine stop {holder}` first, or mount it with `:ro` in all")
            }
            Self::Needed { holder, .. } => format!("`supermachine rm {holder}` first"),
            Self::NoCopy("volumes") => {
                "a copy would write to the same volume, or to one of another moment; start a VM without it".to_owned()
            }
            Self::NoCopy(_) => "a snapshot would hold them".to_owned(),
            _ => return None,
        })
    }
}
