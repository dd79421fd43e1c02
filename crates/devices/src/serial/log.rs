//! A log that a guest cannot fill the host's disk with.

use std::collections::VecDeque;
use std::io::{self, Write};

/// How much of the newest output is kept in memory, for error reports.
pub const TAIL_BYTES: usize = 16 << 10;

/// A line longer than this is written in parts.
const LINE_BYTES: usize = 512;

/// Passes a guest's output on, line by line, until a limit is reached; after that it only remembers the tail.
///
/// Writing never fails towards the guest. A sink that cannot take a line loses it, and the first failure is
/// kept for [`BoundedLog::failure`].
pub struct BoundedLog<W: Write> {
    sink: W,
    left: u64,
    limit: u64,
    line: Vec<u8>,
    tail: VecDeque<u8>,
    failure: Option<io::Error>,
}

impl<W: Write> BoundedLog<W> {
    /// A log that lets `limit` bytes into `sink`, and after them one line that says so.
    pub const fn new(sink: W, limit: u64) -> Self {
        Self {
            sink,
            left: limit,
            limit,
            line: Vec::new(),
            tail: VecDeque::new(),
            failure: None,
        }
    }

    /// The newest output, at most [`TAIL_BYTES`], whether it went into the sink or not.
    pub fn tail(&self) -> Vec<u8> {
        self.tail.iter().copied().collect()
    }

    /// The first error of the sink.
    pub const fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Writes out a line that has no end yet: when the guest is gone, or someone looks.
    pub fn write_partial_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.pass_on(&line);
        self.line = line;
        self.line.clear();
    }

    fn take_byte(&mut self, byte: u8) {
        if self.tail.len() == TAIL_BYTES {
            self.tail.pop_front();
        }
        self.tail.push_back(byte);
        if self.left == 0 {
            return;
        }
        self.line.push(byte);
        if byte == b'\n' || self.line.len() == LINE_BYTES {
            self.write_partial_line();
        }
    }

    fn pass_on(&mut self, line: &[u8]) {
        if line.is_empty() || self.left == 0 {
            return;
        }
        let fits = line
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= fits as u64;
        let mut result = self.sink.write_all(&line[..fits]);
        if self.left == 0 {
            let notice = format!(
                "\n[console log is full after {} bytes; the rest is dropped]\n",
                self.limit
            );
            result = result.and_then(|()| self.sink.write_all(notice.as_bytes()));
        }
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }
}

impl<W: Write> Write for BoundedLog<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bytes.iter().for_each(|&byte| self.take_byte(byte));
        Ok(bytes.len())
    }

    /// Does nothing: complete lines are in the sink already, and a line is written when it is complete.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for BoundedLog<W> {
    fn drop(&mut self) {
        self.write_partial_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Calls(Vec<Vec<u8>>);

    impl Write for &mut Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_reaches_the_sink_in_one_write() {
        let mut calls = Calls::default();
        let mut log = BoundedLog::new(&mut calls, 1000);
        for byte in b"one\ntwo\nthr" {
            log.write_all(&[*byte]).unwrap();
            log.flush().unwrap();
        }
        drop(log);
        assert_eq!(
            calls.0,
            [b"one\n".to_vec(), b"two\n".to_vec(), b"thr".to_vec()]
        );
    }

    #[test]
    fn a_line_without_end_is_written_in_parts() {
        let mut calls = Calls::default();
        BoundedLog::new(&mut calls, 1 << 20)
            .write_all(&[b'x'; 2 * LINE_BYTES + 1])
            .unwrap();
        assert_eq!(
            calls.0.iter().map(Vec::len).collect::<Vec<_>>(),
            [LINE_BYTES, LINE_BYTES, 1]
        );
    }

    #[test]
    fn the_limit_holds_and_is_announced_once() {
        let mut sink = Vec::new();
        let mut log = BoundedLog::new(&mut sink, 6);
        for _ in 0..10_000 {
            log.write_all(b"abcd\n").unwrap();
        }
        log.write_all(b"last words").unwrap();
        let tail = log.tail();
        drop(log);
        let text = String::from_utf8(sink).unwrap();
        assert!(
            text.starts_with("abcd\na\n[console log is full after 6 bytes"),
            "{text}"
        );
        assert_eq!(text.matches("full").count(), 1);
        assert!(text.len() < 100);
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with(b"abcd\nlast words"));
    }

    #[test]
    fn a_full_disk_is_kept_for_later_and_not_shown_to_the_guest() {
        let mut log = BoundedLog::new(Full, 1000);
        log.write_all(b"hello\nagain\n").unwrap();
        assert_eq!(log.failure().unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(log.tail(), b"hello\nagain\n");
    }
}
