//! Picking lines from a log, whose entries are pieces of output and not lines.

use std::time::SystemTime;
use supermachine::log::{LogEntry, LogStream};
use supermachine::rfc3339;

/// Which lines are printed, and how. The time of a line is that of its first piece.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Not those before.
    pub since: Option<SystemTime>,
    /// Not those after.
    pub until: Option<SystemTime>,
    /// Puts the time in front.
    pub timestamps: bool,
}

/// Takes pieces and gives what is to be printed of each.
#[derive(Debug, Default)]
pub struct Lines {
    choice: Choice,
    /// Lines to leave out, of those that are chosen.
    skip: u64,
    seen: u64,
    stdout: Line,
    stderr: Line,
}

/// The line that a stream is in the middle of.
#[derive(Debug, Default)]
struct Line {
    has_begun: bool,
    is_shown: bool,
}

impl Lines {
    /// All lines of a choice but so many at the start.
    pub fn new(choice: Choice, skip: u64) -> Self {
        Self {
            choice,
            skip,
            ..Self::default()
        }
    }

    /// How many lines of the choice began so far.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// What to print of a piece.
    pub fn take(&mut self, entry: &LogEntry) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in entry.data.split_inclusive(|byte| *byte == b'\n') {
            if !self.line(entry.stream).has_begun {
                let is_shown = self.begin(entry.at);
                let line = self.line(entry.stream);
                (line.has_begun, line.is_shown) = (true, is_shown);
                if is_shown && self.choice.timestamps {
                    out.extend_from_slice(rfc3339(entry.at).as_bytes());
                    out.push(b' ');
                }
            }
            let line = self.line(entry.stream);
            if line.is_shown {
                out.extend_from_slice(piece);
            }
            line.has_begun = !piece.ends_with(b"\n");
        }
        out
    }

    /// Whether a line that begins now is shown.
    fn begin(&mut self, at: SystemTime) -> bool {
        let chosen = self.choice.since.is_none_or(|since| at >= since)
            && self.choice.until.is_none_or(|until| at <= until);
        self.seen += u64::from(chosen);
        chosen && self.seen > self.skip
    }

    const fn line(&mut self, stream: LogStream) -> &mut Line {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LogStream::{Stderr, Stdout};
    use std::time::{Duration, UNIX_EPOCH};

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn printed(choice: Choice, skip: u64) -> String {
        let mut lines = Lines::new(choice, skip);
        let pieces = [
            (1, Stdout, "one\ntw"),
            (2, Stderr, "err\n"),
            (3, Stdout, "o\nthree\n"),
            (4, Stdout, "\nlast"),
        ];
        let pieces = pieces.map(|(second, stream, text)| LogEntry {
            at: at(second),
            stream,
            data: text.as_bytes().to_vec(),
        });
        let bytes: Vec<u8> = pieces.iter().flat_map(|piece| lines.take(piece)).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_are_whole_whatever_pieces_they_came_in() {
        let all = Choice::default();
        assert_eq!(printed(all.clone(), 0), "one\ntwerr\no\nthree\n\nlast");
        assert_eq!(printed(all.clone(), 3), "three\n\nlast");
        assert_eq!(printed(all, 5), "last");
        let since = Choice {
            since: Some(at(3)),
            ..Choice::default()
        };
        assert_eq!(printed(since.clone(), 0), "three\n\nlast");
        assert_eq!(printed(since, 2), "last");
        let until = Choice {
            until: Some(at(2)),
            ..Choice::default()
        };
        assert_eq!(printed(until, 0), "one\ntwerr\no\n");
        let stamped = Choice {
            since: Some(at(4)),
            timestamps: true,
            ..Choice::default()
        };
        assert_eq!(
            printed(stamped, 0),
            "1970-01-01T00:00:04.000000000Z \n1970-01-01T00:00:04.000000000Z last"
        );
    }
}
