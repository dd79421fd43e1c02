//! Who may send how much (virtio 1.2, section 5.10.6.3).
//!
//! Each side tells the other how large its buffer is and how many bytes have left it so far; both counts
//! wrap. A sender knows what it sent, so it knows what must still be in the buffer.

/// Our buffer for one connection: what the guest may send before the host's stream took it.
pub const BUFFER: u32 = 256 << 10;

/// The largest packet Linux sends (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).
const LARGE_PACKET: u32 = 64 << 10;

/// The accounts of one connection.
#[derive(Debug, Default)]
pub struct Credit {
    /// Bytes the guest sent.
    received: u32,
    /// Those of them that left our buffer.
    forwarded: u32,
    /// `forwarded`, as the guest knows it.
    announced: u32,
    /// Bytes we sent.
    sent: u32,
    peer_buffer: u32,
    peer_forwarded: u32,
}

impl Credit {
    /// Takes note of what a packet of the guest says about its buffer.
    pub const fn hear(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.peer_buffer = buf_alloc;
        self.peer_forwarded = fwd_cnt;
    }

    /// Bytes the guest has room for. A guest that claims to have forwarded more than it got has none.
    pub const fn window(&self) -> u32 {
        self.peer_buffer
            .saturating_sub(self.sent.wrapping_sub(self.peer_forwarded))
    }

    /// Bytes were sent to the guest.
    pub const fn send(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    /// Bytes came from the guest. False if it had no credit for them.
    #[must_use]
    pub const fn receive(&mut self, len: u32) -> bool {
        if len > BUFFER - self.buffered() {
            return false;
        }
        self.received = self.received.wrapping_add(len);
        true
    }

    /// Bytes left our buffer: the stream took them, or nobody wants them any more.
    pub const fn forward(&mut self, len: u32) {
        self.forwarded = self.forwarded.wrapping_add(len);
    }

    /// Bytes in our buffer.
    pub const fn buffered(&self) -> u32 {
        self.received.wrapping_sub(self.forwarded)
    }

    /// The `fwd_cnt` of a packet that is about to be sent.
    pub const fn announce(&mut self) -> u32 {
        self.announced = self.forwarded;
        self.forwarded
    }

    /// Whether the guest should hear of the room it has, even without data to tell it with: when half of
    /// the buffer became free since it last heard, or when it may be waiting and a good part of what it
    /// waits for is there. Linux does not ask; it waits.
    pub const fn owes_update(&self) -> bool {
        let news = self.forwarded.wrapping_sub(self.announced);
        let seen_by_guest = BUFFER.saturating_sub(self.received.wrapping_sub(self.announced));
        let may_be_waiting = seen_by_guest < LARGE_PACKET;
        news >= BUFFER / 2
            || (may_be_waiting && news > 0 && (news >= LARGE_PACKET || self.buffered() == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_window_survives_the_wrap_of_the_counters() {
        let mut credit = Credit {
            sent: u32::MAX - 9,
            peer_forwarded: u32::MAX - 9,
            ..Credit::default()
        };
        credit.hear(100, u32::MAX - 9);
        assert_eq!(credit.window(), 100);
        credit.send(60);
        assert_eq!(credit.window(), 40);
        credit.hear(100, 50);
        assert_eq!(credit.window(), 100);
    }

    #[test]
    fn a_guest_that_forwarded_more_than_it_got_has_no_room() {
        let mut credit = Credit::default();
        credit.hear(1000, 1);
        assert_eq!(credit.window(), 0);
    }

    #[test]
    fn data_beyond_the_buffer_is_refused() {
        let mut credit = Credit::default();
        assert!(credit.receive(BUFFER));
        assert!(!credit.receive(1));
        credit.forward(1);
        assert!(credit.receive(1));
        assert!(!credit.receive(u32::MAX));
    }

    proptest! {
        /// Whatever is sent and forwarded, a guest that uses all of its credit hears of new credit once
        /// everything was forwarded: it can never wait for ever.
        #[test]
        fn a_waiting_guest_is_always_told(steps in proptest::collection::vec((1u32..=BUFFER, 0u32..=BUFFER), 1..50)) {
            let mut credit = Credit::default();
            let mut known = 0u32;
            let mut sent = 0u32;
            for (send, forward) in steps {
                let send = send.min(BUFFER - sent.wrapping_sub(known));
                prop_assert!(credit.receive(send));
                sent = sent.wrapping_add(send);
                credit.forward(forward.min(credit.buffered()));
                if credit.owes_update() {
                    known = credit.announce();
                    prop_assert!(!credit.owes_update());
                }
            }
            credit.forward(credit.buffered());
            if credit.owes_update() {
                known = credit.announce();
            }
            prop_assert!(BUFFER - sent.wrapping_sub(known) >= LARGE_PACKET);
        }
    }
}
