//! Any OCI image as a hardware-isolated microVM, one library call.
//!
//! ```no_run
//! use supermachine::{Image, VmConfig};
//!
//! # fn main() -> Result<(), supermachine::Error> {
//! let image = Image::pull("docker.io/library/python:3.12-slim")?;
//! let vm = image.start(&VmConfig::new())?;
//! let out = vm.exec(["python3", "-c", "print(6*7)"])?;
//! assert_eq!(out.stdout, b"42\n");
//! # Ok(())
//! # }
//! ```
//!
//! The library is blocking: it starts one thread per VM (its *supervisor*) and none per exec. With the feature `tokio`
//! what waits for a VM or for a process inside is a future as well (`Vm::exec_async`, `ExecBuilder::spawn_async`). A VM lives in a
//! process of its own, `supermachine-vmm`, and ends with its [`Vm`] handle, or with this process, whatever
//! comes first.
//!
//! | type | what it is |
//! |---|---|
//! | [`Runtime`] | where state is kept and programs are found; [`Runtime::new`] takes it from the environment |
//! | [`Image`] | an image in the store, ready to start |
//! | [`VmConfig`] | everything about a VM that is not in its image |
//! | [`Vm`] | a running VM, of this process or of another one |
//! | [`Snapshot`] | a VM that was written down, to go on from there any number of times; [`Vm::snapshot`], [`Vm::fork`], [`Image::warm`] |
//! | [`Ready`] | what shows that a workload is ready; [`Vm::wait_ready`] |
//! | [`Pool`] | VMs made ahead of time, so that having a clean one takes microseconds; [`Image::pool`], [`Snapshot::pool`] |
//! | [`ExecBuilder`], [`Child`], [`Output`] | further processes inside it |
//! | [`Events`] | what happens to a VM, as it happens; [`Vm::events`] |
//! | [`Files`] | files and trees of a running VM: read, write, copy; [`Vm::files`] |
//! | [`Error`] | what failed, at which step, with an exit code and a hint |

#![forbid(unsafe_code)]

mod assets;
#[cfg(feature = "tokio")]
mod asynchronous;
mod attachment;
mod bytes;
mod config;
mod deadline;
pub mod detached;
pub mod doctor;
mod error;
mod events;
mod exec;
mod files;
mod forks;
mod handle;
mod health;
mod home;
mod liveness;
mod lives;
pub mod log;
mod names;
mod network;
mod packet;
mod poll;
mod pool;
mod reach;
mod ready;
mod record;
mod runtime;
mod saved;
mod scratch;
mod session;
mod setup;
mod signals;
mod snapshots;
mod storage;
mod supervisor;
mod template;
mod time;
mod usage;
mod vm;
mod vmm;
mod workload;

/// The image store and everything about references, registries and pulls.
pub use image as images;

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncChild, AsyncEvents, AsyncOutput, AsyncStdin};
pub use attachment::Attachment;
pub use config::{
    BootMode, Command, LogLimits, MainOutput, MainStdin, Memory, OnFailure, RestartPolicy,
    Retention, Ulimit, VmConfig, Workload,
};
pub use deadline::Deadline;
pub use error::{
    ArchiveError, AssetError, ClientError, ConfigError, Error, HomeError, ImageError, PacketError,
    PoolError, ReadyError, RecordError, SavedError, ScratchError, SessionError, VmmError,
};
pub use events::{Event, Events};
pub use exec::{Canceler, Child, ExecBuilder, ExecStdin, Output};
pub use files::{
    CopyOptions, DirEntry, FileReader, FileStat, Files, FilesError, TarReader, WriteOptions,
};
pub use handle::Image;
pub use health::{Health, Probe};
pub use lives::Lives;
pub use network::{
    NetworkError, NetworkInfo, NetworkLimits, NetworkMember, NetworkMode, NetworkUpdate,
    NetworkUpdateError, Passed, PortError, PortMapping, Rule, RuleError, Traffic,
};
pub use pool::{Pool, PoolBuilder, PoolStats, PooledVm};
pub use proto::control::{KernelFlavor, Step};
pub use proto::files::FileKind;
pub use proto::happening::{EventKind, HealthStatus};
pub use proto::session::{
    Exit, ExitStatus, Failure, FailureKind, ProcessInfo, Usage, Victim, WindowSize,
};
pub use ready::{Pattern, Ready};
pub use record::{VmDetails, VmStatus, VmSummary};
pub use runtime::{Runtime, RuntimeBuilder};
pub use session::{OutputReader, StdinWriter};
pub use setup::SetupReport;
pub use signals::{ParseSignalError, Signal};
pub use snapshots::{Snapshot, SnapshotInfo};
pub use storage::{
    Access, DEFAULT_VOLUME_SIZE, SecretSource, StorageError, VolumeInfo, VolumeOptions,
};
pub use template::{Notice, SavedUsage};
pub use time::rfc3339;
pub use usage::{Processes, Stats};
pub use vm::{Timings, Vm};

/// A name for something that was given none: `amber_otter`.
pub fn make_up_name() -> String {
    names::generate(0)
}

/// The release of this library; `supermachine-vmm` and the assets must be of the same.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_go_to_other_threads() {
        const fn is_shared<T: Send + Sync>() {}
        is_shared::<Runtime>();
        is_shared::<Image>();
        is_shared::<Vm>();
        is_shared::<Pool>();
        is_shared::<PooledVm>();
        is_shared::<Child>();
        is_shared::<Canceler>();
        is_shared::<Output>();
        is_shared::<ExecBuilder<'_>>();
        is_shared::<Files<'_>>();
        is_shared::<FileReader>();
        is_shared::<Snapshot>();
        is_shared::<log::LogReader>();
        is_shared::<VmConfig>();
        is_shared::<Attachment>();
        is_shared::<StdinWriter>();
        is_shared::<OutputReader>();
        is_shared::<Events>();
        is_shared::<Error>();
        #[cfg(feature = "tokio")]
        is_shared::<AsyncChild>();
        #[cfg(feature = "tokio")]
        is_shared::<(AsyncEvents, AsyncOutput, AsyncStdin)>();
    }
}
