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
//! The library is blocking: it starts one thread per VM (its *supervisor*) and none per exec. A VM lives in a
//! process of its own, `supermachine-vmm`, and ends with its [`Vm`] handle, or with this process, whatever
//! comes first.
//!
//! | type | what it is |
//! |---|---|
//! | [`Runtime`] | where state is kept and programs are found; [`Runtime::new`] takes it from the environment |
//! | [`Image`] | an image in the store, ready to start |
//! | [`VmConfig`] | everything about a VM that is not in its image |
//! | [`Vm`] | a running VM, of this process or of another one |
//! | [`ExecBuilder`], [`Child`], [`Output`] | further processes inside it |
//! | [`Error`] | what failed, at which step, with an exit code and a hint |

#![forbid(unsafe_code)]

mod config;
mod deadline;
pub mod detached;
pub mod doctor;
mod error;
mod exec;
mod handle;
pub mod log;
mod record;
mod runtime;
mod session;
mod setup;
mod signals;
mod vm;

/// The image store and everything about references, registries and pulls.
pub use image as images;

pub use config::{MainOutput, MainStdin, Memory, Retention, VmConfig, Workload};
pub use deadline::Deadline;
pub use error::{ConfigError, Error};
pub use exec::{Child, ExecBuilder, ExecStdin, Output};
pub use handle::Image;
pub use proto::session::{Exit, ExitStatus};
pub use record::{VmStatus, VmSummary};
pub use runtime::{Runtime, RuntimeBuilder};
pub use session::{OutputReader, SessionError, StdinWriter};
pub use setup::SetupReport;
pub use signals::{ParseSignalError, Signal};
pub use vm::{Timings, Vm};

/// The release of this library; `supermachine-vmm` and the assets must be of the same.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
