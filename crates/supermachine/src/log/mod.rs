//! The log of a VM: what its main process wrote, with times.
//!
//! Files in the VM's record, `log.1` and so on (older) and `log`, each a sequence of entries:
//!
//! ```text
//! 0        4        5            13            13 + length
//! | length | stream | nanoseconds | bytes ...  |
//!   u32 LE   1 or 2   u64 LE, since 1970
//! ```
//!
//! An entry is written with one call. One that was cut off (a full disk, a power failure) ends the file for
//! readers, and the next writer cuts it away.

mod directory;
mod entry;
mod reader;
mod writer;

pub use entry::{LogEntry, LogStream};
pub use reader::LogReader;
pub(crate) use writer::LogWriter;

/// The name of the current file in the VM's record.
pub(crate) const CURRENT: &str = "log";

/// The name of an older file: the highest number is the oldest.
fn older(number: u32) -> String {
    format!("{CURRENT}.{number}")
}
