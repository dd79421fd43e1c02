//! What is known about a VM outside of its process: a directory per VM below `vms/`.
//!
//! | file | content |
//! |---|---|
//! | `lock` | held by the supervisor for as long as it lives |
//! | `record.json` | [`Record`], replaced by rename |
//! | `room` | nothing: its blocks are for the last `record.json` of a VM that ends while the disk is full |
//! | `log`, `log.1` | output of the main process ([`crate::log`]) |
//! | `console.log`, `vmm.log` | the guest's console, the VMM's own words |
//! | `scratch.ext4` | the writable disk |

mod content;
mod details;
mod registry;
mod summary;

pub(crate) use content::{Record, State};
pub use details::VmDetails;
pub use registry::RecordError;
pub(crate) use registry::{Entry, Registry};
pub use summary::{VmStatus, VmSummary};

pub(crate) const CONSOLE: &str = "console.log";
pub(crate) const VMM_LOG: &str = "vmm.log";
pub(crate) const SCRATCH: &str = "scratch.ext4";
