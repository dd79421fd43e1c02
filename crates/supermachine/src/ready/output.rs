//! What a workload wrote: line by line, and the end of it.

use crate::log::{LogEntry, LogReader, LogStream};

/// A line that never ends is looked at in pieces of this size, so that it does not fill our memory.
const MAX_LINE: usize = 64 << 10;

/// How much of the end of a log an error shows.
const TAIL_BYTES: usize = 4 << 10;
const TAIL_LINES: usize = 20;

/// Lines of both streams, each put together from the pieces in which it arrived.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// Whether a line that this piece adds to is what is wanted. One that has no end yet counts as it is: a prompt never
    /// gets one.
    pub(super) fn add(&mut self, entry: &LogEntry, wanted: impl Fn(&[u8]) -> bool) -> bool {
        let line = match entry.stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        for piece in entry.data.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            let whole = line.ends_with(b"\n");
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if wanted(text.strip_suffix(b"\r").unwrap_or(text)) {
                return true;
            }
            if whole || line.len() > MAX_LINE {
                line.clear();
            }
        }
        false
    }
}

/// The last lines of a log. One that cannot be read has none: there is an error to be told already.
pub(super) fn tail(log: LogReader) -> String {
    let mut end = Vec::new();
    for entry in log.map_while(Result::ok) {
        end.extend_from_slice(&entry.data);
        let surplus = end.len().saturating_sub(TAIL_BYTES);
        end.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogWriter;
    use std::time::SystemTime;

    fn entry(stream: LogStream, data: &[u8]) -> LogEntry {
        LogEntry {
            at: SystemTime::now(),
            stream,
            data: data.to_vec(),
        }
    }

    #[test]
    fn lines_are_put_together_and_streams_kept_apart() {
        let mut lines = Lines::default();
        let mut add =
            |stream, data: &[u8]| lines.add(&entry(stream, data), |line| line == b"it is ready");
        assert!(!add(LogStream::Stdout, b"starting\nit is "));
        assert!(!add(LogStream::Stderr, b"ready\n"));
        assert!(!add(LogStream::Stderr, b"it is not ready\nit "));
        assert!(add(LogStream::Stdout, b"ready\r\nmore"));
        assert!(add(LogStream::Stderr, b"is ready"));
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_long_one() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            assert!(!lines.add(&entry(LogStream::Stdout, &[b'x'; 64 << 10]), |_| false));
        }
        assert!(lines.stdout.len() <= 2 * MAX_LINE);
    }

    #[test]
    fn the_tail_is_the_last_lines_of_both_streams() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), crate::config::LogLimits::DEFAULT).unwrap();
        for number in 0..3000 {
            let stream = if number % 2 == 0 {
                LogStream::Stdout
            } else {
                LogStream::Stderr
            };
            let line = format!("line {number}\n");
            log.append(stream, line.as_bytes()).unwrap();
        }
        let text = tail(LogReader::open(dir.path()).unwrap());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            (lines.len(), lines[0], lines[19]),
            (20, "line 2980", "line 2999")
        );
    }
}
