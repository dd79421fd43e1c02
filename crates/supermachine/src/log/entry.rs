//! One piece of output in the log.

use proto::session::OutputStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const HEADER_LEN: usize = 13;

/// Output arrives in frames of at most this many bytes; a longer entry is damage.
pub(super) const MAX_DATA: usize = proto::frame::MAX_DATA;

/// Which stream a piece of the log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl From<OutputStream> for LogStream {
    fn from(stream: OutputStream) -> Self {
        match stream {
            OutputStream::Stdout => Self::Stdout,
            OutputStream::Stderr => Self::Stderr,
        }
    }
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

/// A parsed header: how many bytes follow, from which stream, when.
pub(super) struct Header {
    pub(super) len: usize,
    pub(super) stream: LogStream,
    pub(super) at: SystemTime,
}

impl Header {
    pub(super) fn encode(stream: LogStream, at: SystemTime, len: usize) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[4] = match stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
        };
        // A clock before 1970 is shown as 1970; 64 bits of nanoseconds last until 2554.
        let nanos = at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        bytes[5..].copy_from_slice(&nanos.to_le_bytes());
        bytes
    }

    /// `None` for bytes no writer of ours wrote.
    pub(super) fn decode(bytes: [u8; HEADER_LEN]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*len) as usize;
        let stream = match rest[0] {
            1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            _ => return None,
        };
        let at = UNIX_EPOCH + Duration::from_nanos(u64::from_le_bytes(*rest.last_chunk::<8>()?));
        (len <= MAX_DATA).then_some(Self { len, stream, at })
    }
}
