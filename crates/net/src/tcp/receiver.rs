//! The bytes from the guest on their way into a socket.

use std::collections::VecDeque;
use std::io::{self, Write};

/// Bytes held for a socket that takes no more.
pub(super) const INBOX: usize = 256 << 10;

/// What our windows are shifted by.
pub(super) const SCALE: u8 = 7;

/// One direction of a flow, from the guest.
#[derive(Debug)]
pub(super) struct Receiver {
    nxt: u32,
    inbox: VecDeque<u8>,
    fin: bool,
    /// The window the guest was told last.
    told: usize,
    scaled: bool,
}

impl Receiver {
    /// Starts behind the guest's SYN.
    pub(super) const fn new(syn: u32, scaled: bool) -> Self {
        Self {
            nxt: syn.wrapping_add(1),
            inbox: VecDeque::new(),
            fin: false,
            told: 0,
            scaled,
        }
    }

    /// The next byte awaited.
    pub(super) const fn nxt(&self) -> u32 {
        self.nxt
    }

    /// Whether the guest understands windows larger than 64 KiB.
    pub(super) const fn is_scaled(&self) -> bool {
        self.scaled
    }

    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.inbox.len()
    }

    /// Whether the guest has said that nothing more comes.
    pub(super) const fn has_ended(&self) -> bool {
        self.fin
    }

    fn window(&self) -> usize {
        let window = INBOX - self.inbox.len();
        if self.scaled {
            window
        } else {
            window.min(0xffff)
        }
    }

    /// The window for a header; what is written there is remembered.
    pub(super) fn tell(&mut self) -> u16 {
        let shift = if self.scaled { SCALE } else { 0 };
        let field = self.window() >> shift;
        self.told = field << shift;
        field as u16
    }

    /// Whether the guest may wait for a window that is larger than it knows.
    pub(super) fn owes_window(&self) -> bool {
        self.told < INBOX / 4 && self.window() >= self.told + INBOX / 4
    }

    /// Takes what is new of a segment; `allowed` bytes may be held back. True if the guest is to hear of it.
    pub(super) fn take(
        &mut self,
        (seq, payload, fin): (u32, &[u8], bool),
        allowed: usize,
        socket: &mut impl Write,
    ) -> io::Result<bool> {
        let old = self.nxt.wrapping_sub(seq) as usize;
        let length = payload.len() + usize::from(fin);
        if length == 0 && old == 0 {
            return Ok(false);
        }
        // Too new, too old, or nothing but an old end: the answer says what is awaited.
        if self.fin || old > payload.len() {
            return Ok(true);
        }
        let new = &payload[old..];
        let direct = if self.inbox.is_empty() {
            write(socket, new)?
        } else {
            0
        };
        let room = (INBOX - self.inbox.len()).min(allowed);
        let held = &new[direct..][..room.min(new.len() - direct)];
        self.inbox.extend(held);
        let taken = direct + held.len();
        self.nxt = self.nxt.wrapping_add(taken as u32);
        if fin && taken == new.len() {
            self.nxt = self.nxt.wrapping_add(1);
            self.fin = true;
        }
        Ok(true)
    }

    /// Passes on what is held. True if nothing is left.
    pub(super) fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while !self.inbox.is_empty() {
            let count = write(socket, self.inbox.as_slices().0)?;
            if count == 0 {
                return Ok(false);
            }
            self.inbox.drain(..count);
        }
        self.inbox.shrink_to(0);
        Ok(true)
    }
}

/// As much as goes in now.
fn write(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match socket.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes a few bytes at a time.
    struct Reluctant<'a>(&'a mut Vec<u8>, usize);

    impl Write for Reluctant<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..count]);
            self.1 -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn segments_in_any_order_and_number_become_what_was_sent(
            syn in any::<u32>(),
            content in proptest::collection::vec(any::<u8>(), 1..5000),
            steps in proptest::collection::vec((0usize..5000, 1usize..2000, 0usize..800, 0usize..3000), 1..200),
        ) {
            let mut receiver = Receiver::new(syn, true);
            let base = receiver.nxt();
            let mut out = Vec::new();
            for (start, len, accepts, allowed) in steps {
                let start = start % content.len();
                let end = (start + len).min(content.len());
                let seq = base.wrapping_add(start as u32);
                let segment = (seq, &content[start..end], end == content.len());
                receiver.take(segment, allowed, &mut Reluctant(&mut out, accepts)).unwrap();
                receiver.flush(&mut Reluctant(&mut out, accepts)).unwrap();
                let passed = receiver.nxt().wrapping_sub(base) as usize - usize::from(receiver.has_ended());
                prop_assert_eq!(passed, out.len() + receiver.buffered());
                prop_assert_eq!(&out[..], &content[..out.len()]);
            }
            receiver.flush(&mut out).unwrap();
            prop_assert_eq!(&out[..], &content[..out.len()]);
            prop_assert!(!receiver.has_ended() || out.len() == content.len());
        }
    }

    #[test]
    fn a_socket_that_takes_nothing_closes_the_window_and_opens_it_again() {
        let mut receiver = Receiver::new(0, true);
        receiver.tell();
        let mut out = Vec::new();
        receiver
            .take(
                (1, &[1; INBOX], false),
                usize::MAX,
                &mut Reluctant(&mut out, 0),
            )
            .unwrap();
        assert_eq!(receiver.tell(), 0);
        assert!(!receiver.owes_window());
        assert!(receiver.flush(&mut out).unwrap());
        assert!(receiver.owes_window());
        assert_eq!(usize::from(receiver.tell()) << SCALE, INBOX);
    }
}
