//! Why no VM is made at the moment, and when it is tried again.

use super::memory::Shortage;
use crate::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the first failure holds the makers back; each further one doubles it.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
const AFTER_FAILURE_MOST: Duration = Duration::from_secs(5);

/// The same for a host without memory to spare, which is looked at and costs little.
const AFTER_SHORTAGE: Duration = Duration::from_millis(50);
const AFTER_SHORTAGE_MOST: Duration = Duration::from_secs(1);

/// A failure that comes so long after the last one has nothing to do with it.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Why no VM is made at the moment, and when it is tried again.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    failed_at: Option<Instant>,
    failure: Option<Arc<Error>>,
    /// What the last one that was lost died of.
    last_words: Option<Arc<Error>>,
    shortages: u32,
    shortage: Option<Shortage>,
    until: Option<Instant>,
}

impl Trouble {
    /// A VM could not be made.
    pub(super) fn failed(&mut self, error: &Arc<Error>, now: Instant) {
        self.count_failure(now);
        self.failure = Some(Arc::clone(error));
        self.until = now.checked_add(delay(
            AFTER_FAILURE,
            AFTER_FAILURE_MOST,
            self.failures.saturating_sub(1),
        ));
    }

    /// A VM ended while nobody used it. The first of several is replaced at once.
    pub(super) fn lost(&mut self, cause: Option<Arc<Error>>, now: Instant) {
        self.count_failure(now);
        self.last_words = cause;
        if self.failures > 1 {
            self.until =
                now.checked_add(delay(AFTER_FAILURE, AFTER_FAILURE_MOST, self.failures - 2));
        }
    }

    fn count_failure(&mut self, now: Instant) {
        let last = self.failed_at.replace(now);
        if last.is_some_and(|last| now.saturating_duration_since(last) > FORGOTTEN) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// The host has no memory for a VM.
    pub(super) fn short(&mut self, shortage: Shortage, now: Instant) {
        self.until = now.checked_add(delay(AFTER_SHORTAGE, AFTER_SHORTAGE_MOST, self.shortages));
        self.shortages = self.shortages.saturating_add(1);
        self.shortage = Some(shortage);
    }

    /// A VM was made.
    pub(super) fn made(&mut self) {
        self.failure = None;
        self.shortages = 0;
        self.shortage = None;
    }

    /// A VM went to somebody and was alive.
    pub(super) fn given(&mut self) {
        self.failures = 0;
        self.last_words = None;
    }

    /// A VM gave its memory back.
    pub(super) const fn freed(&mut self) {
        if self.shortage.is_some() {
            self.until = None;
        }
    }

    /// Until when nothing is made, if that is not past.
    pub(super) fn hold(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// What the last attempt failed of, if that was no lack of memory.
    pub(super) fn failure(&self) -> Option<Arc<Error>> {
        self.failure.clone()
    }

    /// Why there may be nothing to be had: the last attempt failed, or what was made died.
    pub(super) fn cause(&self) -> Option<Arc<Error>> {
        self.failure.clone().or_else(|| self.last_words.clone())
    }

    /// What the host lacked at the last attempt.
    pub(super) const fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }
}

fn delay(first: Duration, most: Duration, doublings: u32) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
        .min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(trouble: &Trouble, now: Instant) -> Duration {
        trouble
            .hold(now)
            .map_or(Duration::ZERO, |until| until - now)
    }

    #[test]
    fn each_failure_in_a_row_doubles_the_wait_up_to_a_limit() {
        let now = Instant::now();
        let error = Arc::new(Error::Stopped);
        let mut trouble = Trouble::default();
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            trouble.failed(&error, now);
            assert_eq!(held(&trouble, now), Duration::from_millis(expected));
        }
        for _ in 0..100 {
            trouble.failed(&error, now);
        }
        assert_eq!(held(&trouble, now), AFTER_FAILURE_MOST);
        trouble.given();
        trouble.failed(&error, now);
        assert_eq!(held(&trouble, now), AFTER_FAILURE);
        assert!(trouble.failure().is_some());
        trouble.made();
        assert!(trouble.failure().is_none());
    }

    #[test]
    fn the_first_vm_that_is_lost_is_replaced_at_once_and_further_ones_are_not() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        trouble.lost(None, now);
        assert_eq!(held(&trouble, now), Duration::ZERO);
        trouble.lost(None, now);
        assert_eq!(held(&trouble, now), AFTER_FAILURE);
        let later = now + FORGOTTEN + Duration::from_secs(1);
        trouble.lost(Some(Arc::new(Error::Stopped)), later);
        assert_eq!(held(&trouble, later), Duration::ZERO);
        assert!(trouble.failure().is_none() && trouble.cause().is_some());
        trouble.given();
        assert!(trouble.cause().is_none());
    }

    #[test]
    fn memory_that_comes_back_ends_the_wait_for_it() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        trouble.freed();
        trouble.short(Shortage::default(), now);
        assert_eq!(held(&trouble, now), AFTER_SHORTAGE);
        trouble.freed();
        assert_eq!(held(&trouble, now), Duration::ZERO);
        assert!(trouble.shortage().is_some());
        trouble.made();
        assert!(trouble.shortage().is_none());
        // What memory cannot cure goes on.
        trouble.failed(&Arc::new(Error::Stopped), now);
        trouble.freed();
        assert_eq!(held(&trouble, now), AFTER_FAILURE);
    }
}
