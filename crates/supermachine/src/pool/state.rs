//! What a pool has, who waits for it, and what is to be done next. No threads, no clocks and no VMs: those who hold
//! this say what time it is.

use super::memory::Shortage;
use super::seat::{Seat, Turn};
use super::stats::{Counts, Standing};
use super::trouble::Trouble;
use crate::error::Error;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many VMs a pool has, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) idle_timeout: Duration,
}

/// What a pool has and who waits for it. Somebody waits only while nothing is ready.
#[derive(Debug)]
pub(super) struct State<V> {
    bounds: Bounds,
    /// How many there should be, in use or not: what demand has made of `min`, until VMs have been idle for too long.
    size: usize,
    /// The longest idle first.
    ready: VecDeque<Idle<V>>,
    in_use: usize,
    making: usize,
    /// Used, and to be looked at before they go out again.
    unchecked: VecDeque<V>,
    /// Told to end, and not waited for yet.
    doomed: Vec<V>,
    ending: usize,
    waiting: VecDeque<Arc<Seat<V>>>,
    trouble: Trouble,
    pub(super) counts: Counts,
    closed: bool,
}

#[derive(Debug)]
struct Idle<V> {
    vm: V,
    since: Instant,
}

/// What becomes of a VM that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It ends.
    End,
    /// It is looked at and goes out again.
    Check,
}

/// What a maker does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job<V> {
    /// Make a VM.
    Make,
    /// See whether a used one is well.
    Check(V),
}

/// What somebody does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// This.
    Do(T),
    /// Nothing until then, or until told.
    Wait(Option<Instant>),
    /// Nothing any more.
    Stop,
}

impl<V> State<V> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            size: bounds.min,
            ready: VecDeque::new(),
            in_use: 0,
            making: 0,
            unchecked: VecDeque::new(),
            doomed: Vec::new(),
            ending: 0,
            waiting: VecDeque::new(),
            trouble: Trouble::default(),
            counts: Counts::default(),
            closed: false,
        }
    }

    fn total(&self) -> usize {
        self.ready.len() + self.in_use + self.making + self.unchecked.len()
    }

    /// What there is to be while this many are used and wanted.
    fn demand(&self) -> usize {
        (self.in_use + self.waiting.len() + self.bounds.min).min(self.bounds.max)
    }

    fn grow(&mut self) {
        self.size = self.size.max(self.demand());
    }

    /// The VM that was ready last: its memory is the warmest, and the others come of age.
    pub(super) fn take(&mut self) -> Option<V> {
        let idle = self.ready.pop_back()?;
        self.in_use += 1;
        self.grow();
        Some(idle.vm)
    }

    /// A place in the queue.
    pub(super) fn wait(&mut self, turn: Turn) -> Arc<Seat<V>> {
        let seat = Arc::new(Seat::new());
        match turn {
            Turn::Last => self.waiting.push_back(Arc::clone(&seat)),
            Turn::First => self.waiting.push_front(Arc::clone(&seat)),
        }
        self.grow();
        seat
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, seat: &Arc<Seat<V>>) {
        self.waiting.retain(|other| !Arc::ptr_eq(other, seat));
    }

    /// A VM is there for whoever has waited longest.
    fn offer(&mut self, vm: V, now: Instant) {
        match self.waiting.pop_front() {
            Some(seat) => {
                self.in_use += 1;
                seat.give(Ok(vm));
            }
            None => self.ready.push_back(Idle { vm, since: now }),
        }
    }

    /// A VM was alive when it was taken.
    pub(super) fn handed_out(&mut self, waited: Duration) {
        self.trouble.given();
        self.counts.acquired += 1;
        self.counts.wait_total = self.counts.wait_total.saturating_add(waited);
        self.counts.wait_max = self.counts.wait_max.max(waited);
    }

    /// A VM comes back.
    pub(super) fn give_back(&mut self, vm: V, fate: Fate) {
        self.in_use -= 1;
        match fate {
            Fate::Check if !self.closed => self.unchecked.push_back(vm),
            Fate::Check | Fate::End => self.doom(vm),
        }
    }

    /// A VM that was handed out turned out to be dead.
    pub(super) fn was_dead(&mut self, vm: V, cause: Option<Arc<Error>>, now: Instant) {
        self.in_use -= 1;
        self.lose(vm, cause, now);
    }

    /// The ready VM that `is_it`, which has died.
    pub(super) fn died(
        &mut self,
        is_it: impl Fn(&V) -> bool,
        cause: Option<Arc<Error>>,
        now: Instant,
    ) {
        let index = self.ready.iter().position(|idle| is_it(&idle.vm));
        if let Some(idle) = index.and_then(|index| self.ready.remove(index)) {
            self.lose(idle.vm, cause, now);
        }
    }

    fn lose(&mut self, vm: V, cause: Option<Arc<Error>>, now: Instant) {
        self.counts.failed += 1;
        self.trouble.lost(cause, now);
        self.doom(vm);
    }

    fn doom(&mut self, vm: V) {
        self.ending += 1;
        self.doomed.push(vm);
    }

    /// What a maker does next. As many may end as there may be, so that a slow end does not pile up processes.
    pub(super) fn next_job(&mut self, now: Instant) -> Next<Job<V>> {
        if self.closed {
            return Next::Stop;
        }
        if let Some(vm) = self.unchecked.pop_front() {
            self.making += 1;
            return Next::Do(Job::Check(vm));
        }
        if self.total() >= self.size || self.ending > self.bounds.max {
            return Next::Wait(None);
        }
        if let Some(until) = self.trouble.hold(now) {
            return Next::Wait(Some(until));
        }
        self.making += 1;
        Next::Do(Job::Make)
    }

    /// A VM was made, or is well.
    pub(super) fn done(&mut self, job: &Job<()>, vm: V, now: Instant) {
        self.making -= 1;
        if *job == Job::Make {
            self.counts.made += 1;
            self.trouble.made();
        }
        if self.closed {
            self.doom(vm);
        } else {
            self.offer(vm, now);
        }
    }

    /// A VM was not well.
    pub(super) fn unwell(&mut self, vm: V, cause: Arc<Error>, now: Instant) {
        self.making -= 1;
        self.lose(vm, Some(cause), now);
    }

    /// The thread of a maker broke in the middle of its work.
    pub(super) const fn maker_broke(&mut self) {
        self.making = self.making.saturating_sub(1);
    }

    /// No VM was made, and all who wait are told.
    pub(super) fn failed(&mut self, error: &Arc<Error>, now: Instant) {
        self.making -= 1;
        self.counts.failed += 1;
        self.trouble.failed(error, now);
        for seat in self.waiting.drain(..) {
            seat.give(Err(Arc::clone(error)));
        }
        self.size = self.demand();
    }

    /// No VM was made because the host has no memory for it; those who wait go on waiting.
    pub(super) fn short(&mut self, shortage: Shortage, now: Instant) {
        self.making -= 1;
        self.trouble.short(shortage, now);
    }

    /// What the keeper does next: end these.
    pub(super) fn next_end(&mut self, now: Instant) -> Next<Vec<V>> {
        self.expire(now);
        if !self.doomed.is_empty() {
            return Next::Do(std::mem::take(&mut self.doomed));
        }
        if self.closed && self.making == 0 {
            return Next::Stop;
        }
        Next::Wait(self.next_expiry())
    }

    /// Those above `min` that were idle for too long end, and are not made again.
    fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|expiry| expiry <= now) {
            if let Some(idle) = self.ready.pop_front() {
                self.doom(idle.vm);
                self.size = self.size.saturating_sub(1).max(self.demand());
            }
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        let surplus = self.ready.len() > self.bounds.min;
        let oldest = self.ready.front().filter(|_| surplus)?;
        oldest.since.checked_add(self.bounds.idle_timeout)
    }

    /// A VM has ended.
    pub(super) fn ended(&mut self) {
        self.ending -= 1;
        self.counts.ended += 1;
        self.trouble.freed();
    }

    /// Ends everything that nobody uses, now and later.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let idle = std::mem::take(&mut self.ready);
        let unchecked = std::mem::take(&mut self.unchecked);
        for vm in idle.into_iter().map(|idle| idle.vm).chain(unchecked) {
            self.doom(vm);
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            ready: self.ready.len(),
            in_use: self.in_use,
            making: self.making + self.unchecked.len(),
            ending: self.ending,
            waiting: self.waiting.len(),
            shortage: self.trouble.shortage(),
            failure: self.trouble.failure(),
            cause: self.trouble.cause(),
        }
    }
}

#[cfg(test)]
mod tests;
