//! The bytes on their way to the guest: kept until it has acknowledged them.

use std::collections::VecDeque;

/// Bytes unacknowledged at most. The link has no delay to speak of, so more would only be memory.
pub(super) const IN_FLIGHT: usize = 512 << 10;

/// Short pieces are put together up to this many bytes, so that a flow of single bytes is not a flow of allocations.
const SHORT: usize = 4096;

/// One direction of a flow, towards the guest.
#[derive(Debug)]
pub(super) struct Sender {
    /// First byte not acknowledged.
    una: u32,
    /// Next to be sent.
    nxt: u32,
    /// One past the last that was ever sent.
    max: u32,
    /// Bytes the guest takes from `una` on.
    window: u32,
    scale: u8,
    mss: u16,
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are acknowledged.
    head: usize,
    len: usize,
    ended: bool,
    /// The end was acknowledged.
    finished: bool,
    duplicates: u8,
}

/// What an acknowledgement meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acked {
    /// Something arrived.
    Progress,
    /// Nothing new.
    Nothing,
    /// The guest asks for something again.
    Again,
    /// It is about what was never sent.
    Impossible,
}

impl Sender {
    /// Starts behind a SYN with this number.
    pub(super) const fn new(initial: u32) -> Self {
        Self {
            una: initial,
            nxt: initial,
            max: initial,
            window: 1,
            scale: 0,
            mss: 536,
            chunks: VecDeque::new(),
            head: 0,
            len: 0,
            ended: false,
            finished: false,
            duplicates: 0,
        }
    }

    /// What the guest's SYN says. Without a scale of its own, the guest did not understand ours.
    pub(super) fn learn(&mut self, mss: Option<u16>, scale: Option<u8>, window: u16) {
        self.mss = mss.unwrap_or(536).max(64);
        self.scale = scale.unwrap_or(0);
        self.window = window.into();
    }

    /// The SYN was acknowledged.
    pub(super) const fn greeted(&mut self) {
        self.una = self.una.wrapping_add(1);
        self.nxt = self.una;
        self.max = self.una;
    }

    /// The number of the SYN before it is acknowledged; the first byte not acknowledged afterwards.
    pub(super) const fn una(&self) -> u32 {
        self.una
    }

    pub(super) const fn nxt(&self) -> u32 {
        self.nxt
    }

    pub(super) const fn mss(&self) -> u16 {
        self.mss
    }

    /// Bytes kept.
    pub(super) const fn buffered(&self) -> usize {
        self.len
    }

    const fn sent(&self) -> usize {
        self.nxt.wrapping_sub(self.una) as usize
    }

    /// Whether anything waits for an acknowledgement.
    pub(super) const fn is_waiting(&self) -> bool {
        self.max != self.una
    }

    /// How many bytes more can be sent right away.
    pub(super) fn room(&self) -> usize {
        if self.ended || self.sent() < self.len {
            return 0;
        }
        (self.window as usize)
            .min(IN_FLIGHT)
            .saturating_sub(self.len)
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= SHORT => last.extend_from_slice(bytes),
            _ => self.chunks.push_back(bytes.to_vec()),
        }
    }

    /// Nothing more will come.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing more will come.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// What to send next, at most `max` bytes of it.
    pub(super) fn next(&self, max: usize) -> Option<&[u8]> {
        let sent = self.sent();
        let allowed = (self.window as usize)
            .min(self.len)
            .saturating_sub(sent)
            .min(max);
        if allowed == 0 {
            return None;
        }
        let mut offset = self.head + sent;
        for chunk in &self.chunks {
            match chunk.get(offset..) {
                Some(rest) if !rest.is_empty() => return Some(&rest[..rest.len().min(allowed)]),
                _ => offset -= chunk.len(),
            }
        }
        None
    }

    /// Whether it is time for the end.
    pub(super) const fn wants_fin(&self) -> bool {
        self.ended && self.sent() == self.len
    }

    /// Whether the guest has acknowledged everything, the end included.
    pub(super) const fn is_done(&self) -> bool {
        self.finished
    }

    /// So many bytes went out; the end counts as one.
    pub(super) fn advance(&mut self, count: usize) {
        self.nxt = self.nxt.wrapping_add(count as u32);
        if self.max.wrapping_sub(self.una) < self.nxt.wrapping_sub(self.una) {
            self.max = self.nxt;
        }
    }

    /// Everything that is not acknowledged is to be sent again.
    pub(super) const fn rewind(&mut self) {
        self.nxt = self.una;
    }

    /// The guest acknowledges up to `ack` and takes `window` bytes from there.
    pub(super) fn acknowledge(&mut self, ack: u32, window: u16, bare: bool) -> Acked {
        let acked = ack.wrapping_sub(self.una);
        let outstanding = self.max.wrapping_sub(self.una);
        if acked > outstanding {
            // Old ones are in the half of the numbers behind us.
            return if acked > u32::MAX / 2 {
                Acked::Nothing
            } else {
                Acked::Impossible
            };
        }
        let window = u32::from(window) << self.scale;
        if acked == 0 {
            let same = window == self.window;
            self.window = window;
            if !(bare && same && outstanding > 0) {
                return Acked::Nothing;
            }
            self.duplicates = (self.duplicates + 1).min(4);
            return if self.duplicates == 3 {
                Acked::Again
            } else {
                Acked::Nothing
            };
        }
        self.window = window;
        self.duplicates = 0;
        let data = (acked as usize).min(self.len);
        self.finished |= acked as usize > data;
        self.forget(data);
        if self.sent() < acked as usize {
            self.nxt = ack;
        }
        self.una = ack;
        Acked::Progress
    }

    fn forget(&mut self, mut count: usize) {
        self.len -= count;
        while let Some(first) = self.chunks.front() {
            let rest = first.len() - self.head;
            if count < rest {
                self.head += count;
                return;
            }
            count -= rest;
            self.head = 0;
            self.chunks.pop_front();
        }
        self.chunks.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(initial: u32, window: u16) -> Sender {
        let mut sender = Sender::new(initial);
        sender.learn(Some(1000), Some(0), window);
        sender.greeted();
        sender
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_whatever_is_lost(
            initial in any::<u32>(),
            content in proptest::collection::vec(any::<u8>(), 1..20_000),
            steps in proptest::collection::vec((1usize..3000, any::<bool>(), 1u16..5000), 1..60),
        ) {
            let mut sender = open(initial, 3000);
            let (mut given, mut arrived) = (0, Vec::new());
            let base = sender.una();
            for (size, lost, window) in steps.into_iter().cycle().take(5000) {
                let count = sender.room().min(size).min(content.len() - given);
                sender.push(&content[given..given + count]);
                given += count;
                if given == content.len() { sender.end(); }
                let seq = sender.nxt();
                let piece = sender.next(size).map(<[u8]>::to_vec);
                if let Some(piece) = piece {
                    sender.advance(piece.len());
                    if !lost && seq.wrapping_sub(base) as usize == arrived.len() {
                        arrived.extend_from_slice(&piece);
                    }
                } else if sender.wants_fin() {
                    sender.advance(1);
                    if !lost && arrived.len() == content.len() {
                        let end = base.wrapping_add(content.len() as u32 + 1);
                        prop_assert_eq!(sender.acknowledge(end, window, true), Acked::Progress);
                        break;
                    }
                }
                let ack = base.wrapping_add(arrived.len() as u32);
                sender.acknowledge(ack, window, true);
                if lost { sender.rewind(); }
                prop_assert!(sender.buffered() <= IN_FLIGHT);
            }
            if sender.is_done() {
                prop_assert_eq!(&arrived, &content);
                prop_assert!(!sender.is_waiting());
            } else {
                prop_assert_eq!(&arrived[..], &content[..arrived.len()]);
            }
        }
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        let mut sender = open(u32::MAX, 1000);
        sender.push(b"abc");
        sender.advance(3);
        assert_eq!(sender.acknowledge(4, 1000, true), Acked::Impossible);
        assert_eq!(sender.acknowledge(u32::MAX, 1000, true), Acked::Nothing);
        assert_eq!(sender.acknowledge(2, 1000, true), Acked::Progress);
        assert_eq!(sender.next(10), None);
        sender.rewind();
        assert_eq!(sender.next(10), Some(&b"c"[..]));
    }

    #[test]
    fn three_equal_acknowledgements_ask_for_the_rest_again() {
        let mut sender = open(0, 1000);
        sender.push(b"abc");
        sender.advance(3);
        let answers: Vec<_> = (0..4).map(|_| sender.acknowledge(1, 1000, true)).collect();
        assert_eq!(
            answers,
            [Acked::Nothing, Acked::Nothing, Acked::Again, Acked::Nothing]
        );
    }

    #[test]
    fn an_idle_sender_keeps_no_memory() {
        let mut sender = open(0, 60_000);
        sender.push(&[7; 50_000]);
        sender.advance(50_000);
        sender.acknowledge(50_001, 60_000, true);
        assert_eq!((sender.buffered(), sender.chunks.capacity()), (0, 0));
    }
}
