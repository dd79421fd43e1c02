//! Standard output or error of a process: from a pipe to the host, within the host's credit.

use super::running::Medium;
use crate::sys::{fd, would_block};
use proto::frame::Kind;
use proto::session::WINDOW;
use std::os::fd::OwnedFd;

/// What a terminal may hold of what a process wrote before it ended: its line buffer and the kernel's flip buffers.
/// It cannot be asked how much it is.
const TERMINAL_HOLDS: usize = 128 << 10;

/// The host returned more credit than it was sent bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Overpaid;

/// Bytes on their way to the host.
#[derive(Debug)]
pub struct Output {
    kind: Kind,
    /// `None` once nothing more comes out of it.
    pipe: Option<OwnedFd>,
    medium: Medium,
    /// There may be something to read.
    readable: bool,
    credit: u32,
    /// After the process has ended: how much of what it wrote is still in the pipe. What others write into
    /// it later is not the process's output.
    remaining: Option<usize>,
}

impl Output {
    /// Out of the read end of a pipe, or our end of a terminal, which must not block.
    pub const fn new(kind: Kind, pipe: Option<OwnedFd>, medium: Medium) -> Self {
        Self {
            kind,
            pipe,
            medium,
            readable: false,
            credit: WINDOW,
            remaining: None,
        }
    }

    /// Where it comes from, as long as something may come.
    pub const fn descriptor(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref()
    }

    /// Which frames carry it.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Something may have come in.
    pub const fn notice(&mut self) {
        self.readable = true;
    }

    /// The host has consumed this much.
    pub fn pay(&mut self, bytes: u32) -> Result<(), Overpaid> {
        self.credit = self
            .credit
            .checked_add(bytes)
            .filter(|&credit| credit <= WINDOW)
            .ok_or(Overpaid)?;
        Ok(())
    }

    /// It follows another one to the same host.
    pub const fn inherit(&mut self, previous: &Self) {
        self.credit = previous.credit;
    }

    /// It goes to somebody else from now on, who has paid for nothing and been sent nothing.
    pub const fn start_over(&mut self) {
        self.credit = WINDOW;
        self.readable = true;
    }

    /// The process has ended: what is in the pipe now is the rest.
    pub fn process_ended(&mut self) {
        if let Some(pipe) = &self.pipe {
            let remaining = match self.medium {
                Medium::Pipes => fd::bytes_waiting(pipe).unwrap_or(0),
                Medium::Terminal => TERMINAL_HOLDS,
            };
            self.remaining = Some(remaining);
            self.readable = true;
            self.close_if_drained();
        }
    }

    /// Whether everything has been read.
    pub const fn is_drained(&self) -> bool {
        self.pipe.is_none()
    }

    /// Whether a read could bring something that may be sent.
    pub const fn is_ready(&self) -> bool {
        self.pipe.is_some() && self.readable && self.credit > 0
    }

    /// Reads what is there into a buffer; 0 if there is nothing.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Some(pipe) = self
            .pipe
            .as_ref()
            .filter(|_| self.readable && self.credit > 0)
        else {
            return 0;
        };
        let limit = buffer
            .len()
            .min(self.credit as usize)
            .min(self.remaining.unwrap_or(usize::MAX));
        match fd::read(pipe, &mut buffer[..limit]) {
            Ok(count @ 1..) => {
                // A pipe gives all it has: less than was asked for means that it is empty, and that the
                // next write into it will be told. A terminal gives a line buffer at a time.
                self.readable = count == limit || self.medium == Medium::Terminal;
                self.credit -= count as u32;
                if let Some(remaining) = &mut self.remaining {
                    *remaining -= count;
                    self.readable = true;
                }
                self.close_if_drained();
                count
            }
            Err(error) if self.is_empty_for_now(&error) => {
                self.readable = false;
                0
            }
            // The end; or somebody else has read what was counted as remaining.
            _ => {
                self.pipe = None;
                0
            }
        }
    }

    /// Whether there is nothing to read and there may be later. A terminal that nobody has open is an error to read, and
    /// may be opened again by a process that knows its name.
    fn is_empty_for_now(&self, error: &std::io::Error) -> bool {
        let nobody_has_it =
            self.medium == Medium::Terminal && error.raw_os_error() == Some(libc::EIO);
        self.remaining.is_none() && (would_block(error) || nobody_has_it)
    }

    fn close_if_drained(&mut self) {
        if self.remaining == Some(0) {
            self.pipe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> (Output, OwnedFd) {
        let (reader, writer) = fd::pipe().unwrap();
        fd::set_nonblocking(&reader).unwrap();
        fd::set_nonblocking(&writer).unwrap();
        (
            Output::new(Kind::Stdout, Some(reader), Medium::Pipes),
            writer,
        )
    }

    #[test]
    fn nothing_is_read_without_credit() {
        let (mut output, writer) = output();
        let mut buffer = vec![0; 1 << 16];
        let mut got = 0;
        while output.credit > 0 {
            fd::write(&writer, &[7; 50_000]).unwrap();
            output.notice();
            while output.is_ready() {
                got += output.read(&mut buffer);
            }
        }
        assert_eq!(got, WINDOW as usize);
        fd::write(&writer, b"more").unwrap();
        output.notice();
        assert_eq!(output.read(&mut buffer), 0);
        assert!(!output.is_ready());
        output.pay(3).unwrap();
        assert_eq!(
            output.read(&mut buffer),
            3,
            "and then no more than the credit"
        );
    }

    #[test]
    fn credit_that_was_never_spent_is_refused() {
        let (mut output, _writer) = output();
        assert_eq!(output.pay(1), Err(Overpaid));
        assert_eq!(output.pay(u32::MAX), Err(Overpaid));
    }

    #[test]
    fn the_rest_is_what_was_in_the_pipe_when_the_process_ended() {
        let (mut output, writer) = output();
        fd::write(&writer, b"mine").unwrap();
        output.process_ended();
        fd::write(&writer, b"a background child's").unwrap();
        let mut buffer = [0; 64];
        assert_eq!(output.read(&mut buffer), 4);
        assert!(output.is_drained());
    }

    #[test]
    fn an_empty_pipe_is_drained_at_once_even_if_somebody_holds_it() {
        let (mut output, _writer) = output();
        assert!(!output.is_drained());
        output.process_ended();
        assert!(output.is_drained());
    }

    #[test]
    fn a_pipe_closed_early_is_drained() {
        let (mut output, writer) = output();
        drop(writer);
        output.notice();
        assert_eq!(output.read(&mut [0; 8]), 0);
        assert!(output.is_drained());
    }
}
