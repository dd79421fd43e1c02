//! Where the guest's connections with other members stand, so that they can be ended when a member is.
//!
//! The two guests keep the connections; what is noted here is only by which numbers a guest takes a reset.

use crate::lost::{Kind, Lost};
use crate::wire::Segment;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Connections noted at most. What is over that ends when the guest next says something.
const MAX_MARKS: usize = 16_384;

type Ends = (SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy)]
struct Mark {
    channel: u32,
    /// What the guest expects next.
    seq: u32,
    /// What the guest has said so far.
    ack: u32,
    guest_ended: bool,
    member_ended: bool,
}

/// All of them, by the guest's end and the other one.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<Ends, Mark>);

impl Marks {
    /// The guest says this.
    pub(super) fn sent(&mut self, channel: u32, ends: Ends, segment: &Segment<'_>) {
        let said = end_of(segment);
        if segment.syn {
            return self.begin(ends, channel, (segment.ack.unwrap_or(0), said));
        }
        self.note(ends, segment, |mark| {
            mark.ack = later(mark.ack, said);
            mark.seq = segment.ack.map_or(mark.seq, |ack| later(mark.seq, ack));
            mark.guest_ended |= segment.fin;
        });
    }

    /// The guest hears this.
    pub(super) fn received(&mut self, channel: u32, ends: Ends, segment: &Segment<'_>) {
        let said = end_of(segment);
        if segment.syn {
            return self.begin(ends, channel, (said, segment.ack.unwrap_or(0)));
        }
        self.note(ends, segment, |mark| {
            mark.seq = later(mark.seq, said);
            mark.member_ended |= segment.fin;
        });
    }

    fn begin(&mut self, ends: Ends, channel: u32, (seq, ack): (u32, u32)) {
        if self.0.len() < MAX_MARKS || self.0.contains_key(&ends) {
            let mark = Mark {
                channel,
                seq,
                ack,
                guest_ended: false,
                member_ended: false,
            };
            self.0.insert(ends, mark);
        }
    }

    fn note(&mut self, ends: Ends, segment: &Segment<'_>, change: impl FnOnce(&mut Mark)) {
        let Some(mark) = self.0.get_mut(&ends) else {
            return;
        };
        change(mark);
        if segment.rst || (mark.guest_ended && mark.member_ended) {
            self.0.remove(&ends);
        }
    }

    /// Forgets the connections of a channel, and gives them.
    pub(super) fn lose(&mut self, channel: u32, mac: [u8; 6]) -> Vec<Lost> {
        let lost = self.0.extract_if(|_, mark| mark.channel == channel);
        lost.map(|(ends, mark)| describe(mac, ends, mark)).collect()
    }

    /// Every connection.
    pub(super) fn all(&self, mac: [u8; 6]) -> impl Iterator<Item = Lost> {
        self.0
            .iter()
            .map(move |(ends, mark)| describe(mac, *ends, *mark))
    }
}

const fn describe(mac: [u8; 6], (guest, remote): Ends, mark: Mark) -> Lost {
    Lost {
        mac,
        guest,
        remote,
        kind: Kind::Tcp {
            seq: mark.seq,
            ack: mark.ack,
        },
    }
}

/// The number after the last one of a segment.
const fn end_of(segment: &Segment<'_>) -> u32 {
    let length = segment.payload.len() as u32 + segment.syn as u32 + segment.fin as u32;
    segment.seq.wrapping_add(length)
}

/// The later of two numbers of a connection.
const fn later(a: u32, b: u32) -> u32 {
    if (b.wrapping_sub(a) as i32) > 0 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "198.18.0.1:40000";
    const OTHER: &str = "198.18.0.2:80";

    fn ends() -> Ends {
        (GUEST.parse().unwrap(), OTHER.parse().unwrap())
    }

    fn segment(seq: u32, ack: Option<u32>, payload: &[u8]) -> Segment<'_> {
        Segment {
            seq,
            ack,
            syn: false,
            fin: false,
            rst: false,
            window: 0,
            mss: None,
            scale: None,
            payload,
        }
    }

    fn numbers(marks: &Marks) -> Vec<(u32, u32)> {
        let kinds = marks.all([0; 6]).map(|lost| lost.kind);
        let tcp = kinds.map(|kind| match kind {
            Kind::Tcp { seq, ack } => (seq, ack),
            Kind::Udp => panic!("a datagram"),
        });
        tcp.collect()
    }

    #[test]
    fn a_reset_has_the_numbers_the_guest_expects_however_far_the_connection_is() {
        let mut marks = Marks::default();
        let syn = Segment {
            syn: true,
            ..segment(u32::MAX, None, &[])
        };
        marks.sent(1, ends(), &syn);
        assert_eq!(numbers(&marks), [(0, 0)]);
        let greeting = Segment {
            syn: true,
            ..segment(700, Some(0), &[])
        };
        marks.received(1, ends(), &greeting);
        assert_eq!(numbers(&marks), [(701, 0)]);
        marks.sent(1, ends(), &segment(0, Some(701), b"hello"));
        marks.received(1, ends(), &segment(701, Some(5), b"welcome"));
        assert_eq!(numbers(&marks), [(708, 5)]);
        // One that comes late changes nothing.
        marks.sent(1, ends(), &segment(0, Some(701), b"he"));
        assert_eq!(numbers(&marks), [(708, 5)]);
        assert!(marks.lose(2, [0; 6]).is_empty());
        assert_eq!(marks.lose(1, [0; 6]).len(), 1);
        assert!(numbers(&marks).is_empty());
    }

    #[test]
    fn a_connection_that_is_over_is_not_noted_any_more() {
        let mut marks = Marks::default();
        let end = Segment {
            fin: true,
            ..segment(1, Some(1), &[])
        };
        let syn = Segment {
            syn: true,
            ..segment(0, None, &[])
        };
        marks.received(1, ends(), &syn);
        marks.sent(1, ends(), &end);
        assert_eq!(numbers(&marks).len(), 1);
        marks.received(1, ends(), &end);
        assert!(numbers(&marks).is_empty());
        marks.received(1, ends(), &syn);
        let reset = Segment {
            rst: true,
            ..segment(1, None, &[])
        };
        marks.sent(1, ends(), &reset);
        assert!(numbers(&marks).is_empty());
    }
}
