//! The log of a VM: what its main process wrote, with times.

use std::time::SystemTime;

/// Which stream a piece of the log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output as it arrived: not a line, any bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When the host received it.
    pub at: SystemTime,
    /// From which stream.
    pub stream: LogStream,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Reads a VM's log from its oldest entry. As an iterator it ends with what has been written so far;
/// [`Self::follow`] waits for more until the VM has ended.
#[derive(Debug)]
pub struct LogReader {}

impl LogReader {
    /// The next entry; at the end of the log waits for more while the VM runs. `None` when it has ended.
    pub fn follow(&mut self) -> std::io::Result<Option<LogEntry>> {
        Ok(None)
    }
}

impl Iterator for LogReader {
    type Item = std::io::Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
