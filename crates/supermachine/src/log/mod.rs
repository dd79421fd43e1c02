//! The log of a VM: what its main process wrote, with times.
//!
//! Two files in the VM's record, `log.1` (older) and `log`, each a sequence of entries:
//!
//! ```text
//! 0        4        5            13            13 + length
//! | length | stream | nanoseconds | bytes ...  |
//!   u32 LE   1 or 2   u64 LE, since 1970
//! ```
//!
//! An entry is written with one call. One that was cut off (a full disk, a power failure) ends the file for
//! readers, and the next writer cuts it away.

mod entry;
mod reader;
mod writer;

pub use entry::{LogEntry, LogStream};
pub use reader::LogReader;
pub(crate) use writer::LogWriter;

/// File names in the VM's record, and the size at which the current file becomes the older one.
pub(crate) const CURRENT: &str = "log";
pub(crate) const OLDER: &str = "log.1";
pub(crate) const MAX_FILE: u64 = 16 << 20;
