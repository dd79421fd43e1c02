//! Frames that wait for room on the link, and how frames get there.

use crate::link::{Frame, Link};
use crate::wire::{Checksum, Headers};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Frames kept at most. They are answers to what the guest sent, and nobody's only copy of anything.
const MAX_FRAMES: usize = 1024;

/// Small frames on their way to the guest.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Vec<u8>>,
    headers: Headers,
    mac: [u8; 6],
}

impl Outbox {
    pub(crate) fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            ..Self::default()
        }
    }

    pub(crate) const fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Adds a frame, unless there are too many.
    pub(crate) fn push(&mut self, frame: Vec<u8>) {
        if self.frames.len() < MAX_FRAMES {
            self.frames.push_back(frame);
        }
    }

    /// Adds a frame that nothing brings about again. There are no more of them than flows: of the life before, or that a
    /// new policy ended.
    pub(crate) fn push_owed(&mut self, frame: Vec<u8>) {
        self.frames.push_back(frame);
    }

    /// Adds a datagram.
    pub(crate) fn push_udp(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.headers
            .udp(self.mac, (from, to), (payload, Checksum::Here));
        let frame = [self.headers.bytes(), payload].concat();
        self.push(frame);
    }

    /// Gives the guest what there is. False if there is no room for all of it.
    pub(crate) fn flush(&mut self, link: &mut dyn Link) -> bool {
        while let Some(bytes) = self.frames.front() {
            let frame = Frame {
                header: bytes,
                payload: &[],
                checksum: None,
                segmentation: None,
            };
            if !link.send(&frame) {
                return false;
            }
            self.frames.pop_front();
        }
        true
    }
}
