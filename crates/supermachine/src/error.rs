//! What can go wrong, by step.

pub use crate::assets::AssetError;
pub use crate::files::FilesError;
pub use crate::home::HomeError;
pub use crate::network::{NetworkError, NetworkUpdateError, PortError};
pub use crate::packet::PacketError;
pub use crate::pool::PoolError;
pub use crate::ready::ReadyError;
pub use crate::record::RecordError;
pub use crate::saved::{ArchiveError, SavedError};
pub use crate::scratch::ScratchError;
pub use crate::session::SessionError;
pub use crate::storage::StorageError;
pub use crate::supervisor::ClientError;
pub use crate::vmm::VmmError;

use proto::control::Step;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What failed. Each variant is a step; the message says what happened, [`Error::hint`] what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration asks for something that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A port of the host cannot be published.
    #[error(transparent)]
    Port(#[from] PortError),
    /// What a VM may reach cannot be changed so.
    #[error(transparent)]
    NetworkUpdate(#[from] NetworkUpdateError),
    /// A network that has a name, or should have one.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The VMM, a kernel or the initramfs is missing or wrong.
    #[error(transparent)]
    Assets(#[from] AssetError),
    /// A VM's record: no such VM, name taken, unreadable.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The writable disk.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// A template or a snapshot.
    #[error(transparent)]
    Saved(#[from] SavedError),
    /// An image: its reference, the pull, the store.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image was removed between two looks.
    #[error("the image {0} was removed from the store meanwhile")]
    ImageGone(String),
    /// A snapshot's image, which came without it.
    #[error("the image {reference} ({digest}) is not in the store, and its snapshots need it")]
    ImageNeeded {
        /// As it was asked for when the VM was started.
        reference: String,
        /// Of its manifest.
        digest: String,
        /// What to pull.
        pull: String,
    },
    /// The VM did not start, or ended without being asked to.
    #[error(transparent)]
    Vmm(#[from] VmmError),
    /// A process inside could not be started or gave no exit.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The supervisor of a VM of another process.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Files of a VM.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Mounts, volumes and secrets.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A pool that cannot be, or had no VM in time.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A workload that is not ready, or a condition that is none.
    #[error(transparent)]
    Ready(#[from] ReadyError),
    /// What a VM of several waiters failed of.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// The VM was stopped or killed before its workload ended.
    #[error("the VM was stopped")]
    Stopped,
    /// The VM runs nothing that could be waited for or signaled.
    #[error("the VM has no workload")]
    NoWorkload,
    /// The log of a VM cannot be opened or read.
    #[error("cannot open the log in {path}")]
    Log {
        /// The VM's record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket for clients of a VM cannot be made.
    #[error("cannot listen in {path}")]
    ClientSocket {
        /// The VM's record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor's thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A detached supervisor could not be started or spoken to.
    #[error("cannot start the supervisor {program}")]
    Launch {
        /// Its program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A detached supervisor reported that the start failed.
    #[error("{message}")]
    Detached {
        /// The error's message.
        message: String,
        /// [`Error::exit_code`] of the original.
        exit_code: i32,
        /// [`Error::hint`] of the original.
        hint: Option<String>,
    },
    /// The deadline passed first.
    #[error("{waiting_for} took longer than {limit:?}")]
    Deadline {
        /// What was waited for.
        waiting_for: &'static str,
        /// How long.
        limit: Duration,
    },
}

/// What can go wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The text is not an image reference.
    #[error(transparent)]
    Reference(image::ReferenceError),
    /// The image could not be fetched.
    #[error(transparent)]
    Pull(Box<image::PullError>),
    /// The store cannot be used.
    #[error(transparent)]
    Store(Box<image::StoreError>),
    /// A snapshot did not get to a registry, or from there.
    #[error(transparent)]
    Artifact(Box<image::ArtifactError>),
}

impl From<image::ArtifactError> for Error {
    fn from(error: image::ArtifactError) -> Self {
        Self::Image(ImageError::Artifact(Box::new(error)))
    }
}

impl From<image::ReferenceError> for Error {
    fn from(error: image::ReferenceError) -> Self {
        Self::Image(ImageError::Reference(error))
    }
}

impl From<image::PullError> for Error {
    fn from(error: image::PullError) -> Self {
        Self::Image(ImageError::Pull(Box::new(error)))
    }
}

impl From<image::StoreError> for Error {
    fn from(error: image::StoreError) -> Self {
        Self::Image(ImageError::Store(Box::new(error)))
    }
}

/// A configuration that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The image is for another kind of computer.
    #[error("the image is for {image}, this host runs {host}")]
    Platform {
        /// What the image is for.
        image: String,
        /// What this host runs.
        host: String,
    },
    /// Memory out of range.
    #[error("{0} bytes of memory are out of range: 16 MiB to 256 GiB")]
    Memory(u64),
    /// Not a number of CPUs.
    #[error("a VM cannot have {0} CPUs")]
    Cpus(u8),
    /// Not a limit.
    #[error(
        "{0:?} is not a limit: write NAME=SOFT[:HARD], like nofile=1024:2048, with a name of setrlimit(2) and -1 for none"
    )]
    Ulimit(String),
    /// Not a name.
    #[error(
        "{0:?} is not a name: use letters, digits, `_`, `.` and `-`, two at least, a letter or digit first"
    )]
    Name(String),
    /// Not a host name.
    #[error("{0:?} is not a host name: use letters, digits, `-`, `_` and `.`, 64 at most")]
    Hostname(String),
    /// Neither the image nor the caller names a program.
    #[error("no command: the image has none, and none was given")]
    NoCommand,
    /// A chain of commands with a standard input.
    #[error("the commands of a chain have no standard input")]
    ChainStdin,
    /// Not a variable.
    #[error("{0:?} is not an environment variable: NAME=VALUE is")]
    Variable(String),
    /// A relative working directory.
    #[error("the working directory {0:?} is not an absolute path")]
    Workdir(String),
    /// The image's stop signal.
    #[error("the image's stop signal {0:?} is none")]
    StopSignal(String),
    /// No program can be given a zero byte.
    #[error("{0:?} contains a zero byte")]
    ZeroByte(String),
    /// The kernel's limit for one string.
    #[error("{start:?}... has {len} bytes; one argument or variable can have 131071 at most")]
    StringTooLong {
        /// How it starts.
        start: String,
        /// Its length.
        len: usize,
    },
}

impl Error {
    /// A start that took too long; how long is put in by whoever knows.
    pub(crate) const fn start_deadline() -> Self {
        Self::Deadline {
            waiting_for: "the start of the VM",
            limit: Duration::ZERO,
        }
    }

    /// Puts the limit into a deadline error.
    pub(crate) fn within(self, limit: Duration) -> Self {
        match self {
            Self::Deadline { waiting_for, .. } => Self::Deadline { waiting_for, limit },
            other => other,
        }
    }

    /// The exit code a command line ends with because of this error: 125 for ours, 126 and 127 for a program
    /// that cannot be run or does not exist, 124 for a deadline, 137 for a VM that was stopped.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Deadline { .. } => 124,
            Self::Pool(error) => error.exit_code(),
            Self::Session(error) => error.exit_code(),
            Self::Detached { exit_code, .. } => *exit_code,
            Self::Shared(error) => error.exit_code(),
            Self::Stopped => 137,
            _ => 125,
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Assets(AssetError::Manifest { .. } | AssetError::Read { .. }) => return None,
            Self::Assets(_) => {
                "run `supermachine setup`, or `cargo xtask demo` in a source tree, or set SUPERMACHINE_LIBEXEC"
            }
            Self::Scratch(ScratchError::NoMkfs) => "install e2fsprogs",
            Self::Vmm(VmmError::Release { .. }) => {
                "install both from one release, or build the whole workspace"
            }
            Self::Vmm(VmmError::Failed {
                step: Step::OpenKvm,
                ..
            }) => "`supermachine doctor` looks at KVM in detail",
            Self::Vmm(VmmError::Failed {
                step: Step::Restore,
                ..
            }) => {
                "`--cold-boot` starts without a template; a snapshot can be looked at with `snapshot verify`"
            }
            Self::Saved(SavedError::NameTaken(name)) => {
                return Some(format!("`supermachine snapshot rm {name}` frees it"));
            }
            Self::Record(RecordError::NameTaken(name)) => {
                return Some(format!("`supermachine rm {name}` frees it"));
            }
            Self::Record(RecordError::Running(name)) => {
                return Some(format!("`supermachine stop {name}` first, or `rm -f`"));
            }
            Self::ImageNeeded { pull, .. } => {
                return Some(format!("`supermachine pull {pull}` brings it"));
            }
            Self::Storage(error) => return error.hint(),
            Self::Network(error) => return error.hint(),
            Self::Pool(error) => return error.hint().map(str::to_owned),
            Self::Detached { hint, .. } => return hint.clone(),
            Self::Shared(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The last lines the workload wrote, where they tell more.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Ready(error) => error.output(),
            Self::Shared(error) => error.output(),
            _ => None,
        }
    }

    /// The last lines of the guest's console, where they tell more.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::Vmm(error) => error.console(),
            Self::Shared(error) => error.console(),
            _ => None,
        }
    }
}

/// The message and its sources, for where it is only text.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
