//! What has arrived of one output stream and has not been read yet.

use proto::session::WINDOW;

/// Credit is returned in steps of a quarter window: few frames, and a sender never runs dry while the reader
/// keeps up.
const CREDIT_STEP: u32 = WINDOW / 4;

/// What has arrived of one stream and has not been read yet, and the credit that is owed for what has.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    read: usize,
    owed: u32,
    discarding: bool,
}

/// The sender ignored its window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Inbox {
    /// Takes bytes from the guest.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), Overrun> {
        let held = self.bytes.len() - self.read + self.owed as usize;
        if held + bytes.len() > WINDOW as usize {
            return Err(Overrun);
        }
        if self.discarding {
            self.owed += bytes.len() as u32;
            return Ok(());
        }
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives bytes to the reader.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let unread = &self.bytes[self.read..];
        let count = unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&unread[..count]);
        self.consume(count);
        count
    }

    /// Moves everything to the end of `target`.
    pub(super) fn read_all(&mut self, target: &mut Vec<u8>) {
        target.extend_from_slice(&self.bytes[self.read..]);
        self.consume(self.bytes.len() - self.read);
    }

    /// Nobody reads any more: what is here and what comes is dropped, and credited.
    pub(super) fn discard(&mut self) {
        self.consume(self.bytes.len() - self.read);
        self.discarding = true;
        self.bytes = Vec::new();
    }

    fn consume(&mut self, count: usize) {
        self.read += count;
        // At most a window is ever held, so the sum stays in range.
        self.owed += count as u32;
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }

    /// The credit to send now, if enough has come together.
    pub(super) const fn take_credit(&mut self) -> Option<u32> {
        if self.owed < CREDIT_STEP {
            return None;
        }
        let owed = self.owed;
        self.owed = 0;
        Some(owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_keeps_up_never_lets_the_sender_run_dry() {
        let mut inbox = Inbox::default();
        let mut window = WINDOW;
        let mut buffer = [0; 1000];
        for _ in 0..10_000 {
            assert!(window >= 1000, "the sender ran dry");
            inbox.receive(&[1; 1000]).unwrap();
            window -= 1000;
            assert_eq!(inbox.read(&mut buffer), 1000);
            window += inbox.take_credit().unwrap_or(0);
        }
    }

    #[test]
    fn a_sender_over_its_window_is_caught_even_after_reads_that_were_not_credited() {
        let mut inbox = Inbox::default();
        inbox.receive(&vec![0; WINDOW as usize]).unwrap();
        assert_eq!(inbox.receive(&[0]), Err(Overrun));
        inbox.read(&mut [0; 10]);
        assert_eq!(inbox.take_credit(), None);
        assert_eq!(inbox.receive(&[0]), Err(Overrun));
    }

    #[test]
    fn what_is_discarded_is_credited() {
        let mut inbox = Inbox::default();
        inbox.receive(&[0; 100]).unwrap();
        inbox.discard();
        inbox.receive(&vec![0; CREDIT_STEP as usize]).unwrap();
        assert_eq!(inbox.take_credit(), Some(CREDIT_STEP + 100));
        assert!(inbox.is_empty());
    }

    #[test]
    fn bytes_come_out_in_order_across_partial_reads() {
        let mut inbox = Inbox::default();
        inbox.receive(b"abcdef").unwrap();
        let mut buffer = [0; 4];
        assert_eq!((inbox.read(&mut buffer), &buffer), (4, b"abcd"));
        inbox.receive(b"gh").unwrap();
        let mut rest = Vec::new();
        inbox.read_all(&mut rest);
        assert_eq!(rest, b"efgh");
    }
}
