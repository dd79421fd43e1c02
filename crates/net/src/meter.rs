//! How much passes the link, and how much may: what may not yet stays where it is, in the guest's ring or in the host's
//! sockets, and slows down whoever sends it. Nothing is dropped.

use crate::bucket::Bucket;
use crate::link::{Frame, Link};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::time::Instant;

/// The part of a second that one frame for the guest may take, where there is a choice: others wait for it.
const SHARE: u64 = 100;
/// What a frame may always have.
const LEAST: usize = 1460;

/// What may pass in a second. A packet is a frame on the link, 64 KiB at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes that the guest sends.
    pub up: Option<NonZeroU64>,
    /// Bytes that the guest is sent.
    pub down: Option<NonZeroU64>,
    /// Packets, each way.
    pub packets: Option<NonZeroU64>,
}

/// What has passed in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Bytes of frames.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
    /// How often one had to wait because of a limit.
    pub held: u64,
}

/// What has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the guest.
    pub up: Passed,
    /// To the guest.
    pub down: Passed,
}

/// Both directions.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    up: Lane,
    down: Lane,
}

impl Meter {
    /// Other limits from now on.
    pub(crate) fn limit(&mut self, limits: Limits, now: Instant) {
        self.up.limit((limits.up, limits.packets), now);
        self.down.limit((limits.down, limits.packets), now);
    }

    /// What has passed.
    pub(crate) const fn traffic(&self) -> Traffic {
        Traffic {
            up: self.up.passed,
            down: self.down.passed,
        }
    }

    /// When something that waits may pass.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.up.waits.into_iter().chain(self.down.waits).min()
    }

    /// A link that is held to the limits.
    pub(crate) fn over<'a>(&'a mut self, link: &'a mut dyn Link, now: Instant) -> Metered<'a> {
        Metered {
            meter: self,
            link,
            now,
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    bytes: Option<Bucket>,
    packets: Option<Bucket>,
    /// The rate of bytes.
    rate: Option<NonZeroU64>,
    passed: Passed,
    /// Somebody asked in vain, and may ask again then.
    waits: Option<Instant>,
}

impl Lane {
    fn limit(&mut self, (bytes, packets): (Option<NonZeroU64>, Option<NonZeroU64>), now: Instant) {
        self.rate = bytes;
        self.bytes = bytes.map(|rate| Bucket::new(rate, now));
        self.packets = packets.map(|rate| Bucket::new(rate, now));
        // Whoever waits asks again.
        self.waits = self.waits.map(|_| now);
    }

    fn is_open(&mut self, now: Instant) -> bool {
        let buckets = [&mut self.bytes, &mut self.packets];
        let closed = buckets.into_iter().flatten();
        match closed.filter_map(|bucket| bucket.opens(now).err()).max() {
            Some(due) => {
                self.waits = Some(due);
                false
            }
            None => true,
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.passed.held += u64::from(self.waits.take().is_some());
        self.passed.bytes += bytes as u64;
        self.passed.packets += 1;
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
        if let Some(bucket) = &mut self.packets {
            bucket.take(1);
        }
    }
}

/// A link that is held to the limits.
pub(crate) struct Metered<'a> {
    meter: &'a mut Meter,
    link: &'a mut dyn Link,
    now: Instant,
}

impl Link for Metered<'_> {
    fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        let lane = &mut self.meter.up;
        if !lane.is_open(self.now) {
            return false;
        }
        let came = self.link.receive(frame);
        match came {
            true => lane.pass(frame.len()),
            // It asked for nothing.
            false => lane.waits = None,
        }
        came
    }

    fn send(&mut self, frame: &Frame<'_>) -> bool {
        let lane = &mut self.meter.down;
        let sent = lane.is_open(self.now) && self.link.send(frame);
        if sent {
            lane.pass(frame.header.len() + frame.payload.len());
        }
        sent
    }

    fn most(&self) -> usize {
        let rate = self.meter.down.rate;
        let share = rate.map(|rate| usize::try_from(rate.get() / SHARE).unwrap_or(usize::MAX));
        share.map_or(self.link.most(), |share| share.max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Gives frames of 1000 bytes as long as there are any, and takes all.
    struct Pipe(usize);

    impl Link for Pipe {
        fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
            frame.resize(1000, 0);
            let some = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            some
        }

        fn send(&mut self, _: &Frame<'_>) -> bool {
            true
        }
    }

    const FRAME: Frame<'_> = Frame {
        header: &[0; 54],
        payload: &[0; 946],
        checksum: None,
        segmentation: None,
    };

    /// What passes up and down at one moment.
    fn pass(meter: &mut Meter, pipe: &mut Pipe, now: Instant) -> (usize, usize) {
        let mut link = meter.over(pipe, now);
        let up = (0..100)
            .take_while(|_| link.receive(&mut Vec::new()))
            .count();
        (up, (0..100).take_while(|_| link.send(&FRAME)).count())
    }

    const fn limits(up: u64, down: u64, packets: u64) -> Limits {
        Limits {
            up: NonZeroU64::new(up),
            down: NonZeroU64::new(down),
            packets: NonZeroU64::new(packets),
        }
    }

    #[test]
    fn each_direction_waits_for_its_own_bytes_and_says_until_when() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.limit(limits(10_000, 100_000, 0), start);
        let mut pipe = Pipe(50);
        // Savings of 1000 and 10,000 bytes.
        assert_eq!(pass(&mut meter, &mut pipe, start), (1, 10));
        let due = meter.deadline().unwrap();
        assert_eq!(due, start + Duration::from_nanos(1));
        assert_eq!(pass(&mut meter, &mut pipe, due), (1, 1));
        let traffic = meter.traffic();
        let sum = |passed: Passed| (passed.bytes, passed.packets, passed.held);
        assert_eq!(sum(traffic.up), (2000, 2, 1));
        assert_eq!(sum(traffic.down), (11_000, 11, 1));
        // Ten frames a second up, a hundred down.
        let mut count = (0, 0);
        for tenth in 1..=20 {
            let now = start + Duration::from_millis(100 * tenth);
            let (up, down) = pass(&mut meter, &mut pipe, now);
            count = (count.0 + up, count.1 + down);
        }
        // What had passed on credit is paid back first.
        assert_eq!(count, (19, 199));
    }

    #[test]
    fn packets_are_counted_too_and_limits_that_go_let_everything_pass() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.limit(limits(0, 0, 200), start);
        let mut pipe = Pipe(1000);
        assert_eq!(pass(&mut meter, &mut pipe, start), (20, 20));
        meter.limit(Limits::default(), start);
        assert_eq!(meter.deadline(), Some(start));
        assert_eq!(pass(&mut meter, &mut pipe, start), (100, 100));
        assert_eq!(meter.deadline(), None);
    }

    #[test]
    fn a_guest_that_has_nothing_to_send_waits_for_nothing() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.limit(limits(1000, 0, 0), start);
        let mut pipe = Pipe(1);
        assert_eq!(pass(&mut meter, &mut pipe, start).0, 1);
        let due = meter.deadline().unwrap();
        assert_eq!(pass(&mut meter, &mut pipe, due).0, 0);
        assert_eq!((meter.deadline(), meter.traffic().up.held), (None, 0));
    }

    #[test]
    fn a_slow_link_gets_short_frames() {
        let mut meter = Meter::default();
        let mut pipe = Pipe(0);
        let now = Instant::now();
        assert_eq!(meter.over(&mut pipe, now).most(), usize::MAX);
        for (rate, most) in [(1, LEAST), (1_000_000, 10_000)] {
            meter.limit(limits(0, rate, 0), now);
            assert_eq!(meter.over(&mut pipe, now).most(), most);
        }
    }
}
