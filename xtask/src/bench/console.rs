//! Waiting for a line of a guest's console, and knowing when it came.

use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{PipeReader, Read};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// No guest takes longer unless it is stuck: a bound for the bench, not part of any figure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is left until a guest counts as stuck.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// From now.
    pub fn start() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Sleeps in the kernel until one of these descriptors can be read; says which.
    pub fn wait<const N: usize>(self, fds: [BorrowedFd<'_>; N]) -> Result<[bool; N]> {
        let mut watched = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        loop {
            let left = self.0.saturating_duration_since(Instant::now());
            let limit = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut watched, Some(&limit)) {
                Ok(0) => bail!("nothing happened for {} s", PATIENCE.as_secs()),
                Ok(_) => return Ok(watched.map(|fd| !fd.revents().is_empty())),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A console that is being read.
pub struct Console {
    pipe: PipeReader,
    seen: Vec<u8>,
}

impl Console {
    /// Of a pipe that the guest's VMM writes to.
    pub const fn new(pipe: PipeReader) -> Self {
        Self {
            pipe,
            seen: Vec::new(),
        }
    }

    /// For [`Deadline::wait`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pipe.as_fd()
    }

    /// Takes what is there; `false` at the end.
    pub fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; 4096];
        let count = self.pipe.read(&mut bytes)?;
        self.seen.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }

    /// Whether this text came.
    pub fn has(&self, text: &str) -> bool {
        self.seen
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    /// The moment at which this text had come.
    pub fn wait_for(&mut self, text: &str, deadline: Deadline) -> Result<Instant> {
        while !self.has(text) {
            if let Err(error) = deadline.wait([self.fd()]) {
                return Err(error.context(self.shown()));
            }
            if !self.read()? {
                bail!("it ended; {}", self.shown());
            }
        }
        Ok(Instant::now())
    }

    /// The end of what came, for an error.
    pub fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.seen);
        let text: String = text
            .chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .collect();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        match lines.get(lines.len().saturating_sub(5)..) {
            Some([]) | None => "its console is empty".to_owned(),
            Some(last) => format!("its console ends: {}", last.join(" | ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_is_found_whatever_the_pieces_it_comes_in() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut console = Console::new(reader);
        writer.write_all(b"noise\nsuper").unwrap();
        console.read().unwrap();
        assert!(!console.has("supermachine"));
        writer.write_all(b"machine: init\n").unwrap();
        console
            .wait_for("supermachine: init", Deadline::start())
            .unwrap();
    }

    #[test]
    fn a_guest_that_ends_early_is_quoted() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"Kernel panic\r\n\x1b[0m").unwrap();
        drop(writer);
        let error = Console::new(reader)
            .wait_for("supermachine", Deadline::start())
            .unwrap_err()
            .to_string();
        assert_eq!(error, "it ended; its console ends: Kernel panic | [0m");
    }
}
