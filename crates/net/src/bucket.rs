//! A token bucket: so much a second, and what was not used is kept for a little while.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How much may be saved up: what a tenth of a second brings, and a little where that is next to nothing.
const SAVED: u64 = 10;
const SAVED_LEAST: u64 = 16;

const NANOS: i128 = 1_000_000_000;

/// What may pass, and when.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: u64,
    /// Billionths of a token; below zero what was passed on credit. One that is not empty lets pass what is larger.
    level: i128,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(rate: NonZeroU64, now: Instant) -> Self {
        let mut bucket = Self {
            rate: rate.get(),
            level: 0,
            filled: now,
        };
        bucket.level = bucket.most();
        bucket
    }

    fn most(&self) -> i128 {
        i128::from((self.rate / SAVED).max(SAVED_LEAST)) * NANOS
    }

    /// When something may pass: now, or not before.
    pub(crate) fn opens(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.saturating_duration_since(self.filled).as_nanos();
        let rate = i128::from(self.rate);
        let gained = rate.saturating_mul(passed.try_into().unwrap_or(i128::MAX));
        self.level = self.level.saturating_add(gained).min(self.most());
        self.filled = self.filled.max(now);
        if self.level > 0 {
            return Ok(());
        }
        let missing = (1 - self.level + rate - 1) / rate;
        Err(self.filled + Duration::from_nanos(missing.try_into().unwrap_or(u64::MAX)))
    }

    /// So much passed.
    pub(crate) fn take(&mut self, tokens: usize) {
        self.level -= tokens as i128 * NANOS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn rate(rate: u64) -> NonZeroU64 {
        NonZeroU64::new(rate).unwrap()
    }

    #[test]
    fn what_is_larger_than_what_is_left_passes_and_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1000), start);
        assert_eq!(bucket.opens(start), Ok(()));
        bucket.take(600);
        // 100 were saved up, so 500 are owed: half a second.
        let due = start + Duration::from_nanos(500_000_001);
        assert_eq!(bucket.opens(start), Err(due));
        let before = due - Duration::from_nanos(1);
        assert_eq!(bucket.opens(before), Err(due));
        assert_eq!(bucket.opens(due), Ok(()));
    }

    #[test]
    fn what_is_not_used_is_kept_for_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1000), start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.opens(later), Ok(()));
        bucket.take(100);
        assert!(bucket.opens(later).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(rate(1000), start);
        bucket.take(100);
        let due = bucket.opens(start).unwrap_err();
        assert_eq!(bucket.opens(start - Duration::from_secs(5)), Err(due));
        assert_eq!(bucket.opens(start), Err(due));
    }

    proptest! {
        #[test]
        fn over_any_time_no_more_passes_than_the_rate_the_savings_and_one_frame(
            per_second in 1u64..1_000_000_000,
            steps in proptest::collection::vec((0u64..50_000_000, 1usize..65_536), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate(per_second), start);
            let (mut now, mut passed, mut largest) = (start, 0, 0);
            for (pause, size) in steps {
                now += Duration::from_nanos(pause);
                match bucket.opens(now) {
                    Ok(()) => {
                        bucket.take(size);
                        passed += size as u128;
                        largest = largest.max(size as u128);
                    }
                    // It opens when it says so, and not earlier.
                    Err(due) => {
                        prop_assert!(due > now);
                        prop_assert!(bucket.opens(due - Duration::from_nanos(1)).is_err());
                        prop_assert!(bucket.opens(due).is_ok());
                        now = due;
                    }
                }
                let rate = u128::from(per_second);
                let saved = (rate / 10).max(16);
                let allowed = rate * (now - start).as_nanos() / 1_000_000_000 + saved + largest + 1;
                prop_assert!(passed <= allowed, "{passed} > {allowed}");
            }
        }
    }
}
