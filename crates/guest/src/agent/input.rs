//! Standard input of a process: from the host's frames into a pipe.

use super::running::Medium;
use crate::sys::{fd, terminal, would_block};
use proto::session::WINDOW;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// The host sent more than it had credit for.
#[derive(Debug, PartialEq, Eq)]
pub struct Overdrawn;

/// Bytes on their way to a process.
#[derive(Debug)]
pub struct Input {
    /// `None` once it is closed, from whichever side.
    pipe: Option<OwnedFd>,
    medium: Medium,
    /// The last byte that was written ended a line, or there was none.
    at_line_start: bool,
    queue: VecDeque<u8>,
    /// Whether the pipe is closed when the queue is empty.
    ending: Ending,
    /// What the process took and the host has not been told about.
    uncredited: u32,
}

/// What becomes of the input behind the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// More may come.
    No,
    /// The host has closed it.
    Closed,
    /// The host has left; nobody said that this is the end.
    Left,
}

/// What a turn of writing led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing the host has to know.
    Nothing,
    /// The host may send this many bytes more.
    Credit(u32),
    /// The process has closed its end.
    Closed,
}

impl Input {
    /// Into the write end of a pipe, or our end of a terminal, which must not block.
    pub const fn new(pipe: OwnedFd, medium: Medium) -> Self {
        Self {
            pipe: Some(pipe),
            medium,
            at_line_start: true,
            queue: VecDeque::new(),
            ending: Ending::No,
            uncredited: 0,
        }
    }

    /// Takes bytes of the host; none at all means the end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Overdrawn> {
        if self.pipe.is_none() || self.ending != Ending::No {
            return Ok(());
        }
        if bytes.is_empty() {
            self.ending = Ending::Closed;
        }
        self.queue.extend(bytes);
        let used = self.queue.len() + self.uncredited as usize;
        if used > WINDOW as usize {
            Err(Overdrawn)
        } else {
            Ok(())
        }
    }

    /// What has come is still for the process; nothing comes behind it.
    pub const fn leave(&mut self) {
        self.ending = Ending::Left;
    }

    /// Writes what the pipe takes.
    pub fn write_out(&mut self) -> Written {
        while let Some(pipe) = self.pipe.as_ref().filter(|_| !self.queue.is_empty()) {
            match fd::write(pipe, self.queue.as_slices().0) {
                Ok(count) => {
                    self.at_line_start = self.queue[count - 1] == b'\n';
                    self.queue.drain(..count);
                    self.uncredited += count as u32;
                }
                Err(error) if would_block(&error) => break,
                Err(_) => return self.reader_gone(),
            }
        }
        if self.queue.is_empty() && self.ending != Ending::No {
            self.end_terminal();
            self.pipe = None;
            return Written::Nothing;
        }
        // Half a window at a time: the host never runs dry, and frames stay few.
        if self.uncredited >= WINDOW / 2 {
            return Written::Credit(std::mem::take(&mut self.uncredited));
        }
        Written::Nothing
    }

    /// A terminal has no end: what stands for it is typed. In the middle of a line the first one only hands the line
    /// over.
    fn end_terminal(&self) {
        let typed = self.medium == Medium::Terminal && self.ending == Ending::Closed;
        let Some(terminal) = self.pipe.as_ref().filter(|_| typed) else {
            return;
        };
        if let Some(end) = terminal::end_of_file(terminal) {
            let count = if self.at_line_start { 1 } else { 2 };
            // A terminal that takes no more has a program behind it that does not read.
            let _ = fd::write(terminal, &[end; 2][..count]);
        }
    }

    /// The process has closed its end: what is left is dropped.
    pub fn reader_gone(&mut self) -> Written {
        self.queue = VecDeque::new();
        match self.pipe.take() {
            Some(_) => Written::Closed,
            None => Written::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> (Input, OwnedFd) {
        let (reader, writer) = fd::pipe().unwrap();
        fd::set_nonblocking(&writer).unwrap();
        fd::set_nonblocking(&reader).unwrap();
        (Input::new(writer, Medium::Pipes), reader)
    }

    #[test]
    fn a_process_that_does_not_read_stops_the_credit_and_one_that_reads_gets_every_byte() {
        let (mut input, reader) = input();
        let sent: Vec<u8> = (0..WINDOW).map(|n| (n % 251) as u8).collect();
        input.push(&sent).unwrap();
        assert_eq!(input.write_out(), Written::Nothing);
        assert_eq!(input.push(b"x"), Err(Overdrawn));
        input.queue.pop_back();
        let (mut got, mut credit, mut buffer) = (Vec::new(), 0, vec![0; 1 << 15]);
        while let Ok(count @ 1..) = fd::read(&reader, &mut buffer) {
            got.extend_from_slice(&buffer[..count]);
            if let Written::Credit(bytes) = input.write_out() {
                credit += bytes;
            }
        }
        assert_eq!(got, sent);
        assert!(credit >= WINDOW / 2);
    }

    #[test]
    fn the_end_comes_after_what_was_sent_before_it() {
        let (mut input, reader) = input();
        input.push(b"last").unwrap();
        input.push(b"").unwrap();
        input.push(b"dropped").unwrap();
        input.write_out();
        let mut buffer = [0; 8];
        assert_eq!(fd::read(&reader, &mut buffer).unwrap(), 4);
        assert_eq!(fd::read(&reader, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_closed_reader_is_told_once_and_the_rest_is_dropped() {
        crate::sys::signal::block().unwrap();
        let (mut input, reader) = input();
        drop(reader);
        input.push(b"lost").unwrap();
        assert_eq!(input.write_out(), Written::Closed);
        assert_eq!(input.write_out(), Written::Nothing);
        for _ in 0..100 {
            input.push(&[0; 65_536]).unwrap();
        }
        assert!(input.queue.is_empty());
    }
}
