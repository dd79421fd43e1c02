//! Whose turn it is, and whose time is up.

use super::token::SessionId;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Sessions to look at, in order, and moments at which processes are killed.
#[derive(Debug, Default)]
pub struct Schedule {
    turns: VecDeque<SessionId>,
    deadlines: BTreeSet<(Instant, SessionId)>,
}

impl Schedule {
    /// Adds a turn. The caller sees to it that a session has one at most.
    pub fn add_turn(&mut self, id: SessionId) {
        self.turns.push_back(id);
    }

    /// How many turns wait.
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Takes the next turn.
    pub fn next_turn(&mut self) -> Option<SessionId> {
        self.turns.pop_front()
    }

    /// Sets a deadline for a session.
    pub fn add_deadline(&mut self, at: Instant, id: SessionId) {
        self.deadlines.insert((at, id));
    }

    /// Takes a deadline back.
    pub fn remove_deadline(&mut self, at: Instant, id: SessionId) {
        self.deadlines.remove(&(at, id));
    }

    /// Puts every deadline off.
    pub fn postpone(&mut self, by: Duration) {
        let later = |(at, id): (Instant, SessionId)| Some((at.checked_add(by)?, id));
        self.deadlines = std::mem::take(&mut self.deadlines)
            .into_iter()
            .filter_map(later)
            .collect();
    }

    /// The earliest deadline.
    pub fn first_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes a deadline that has passed.
    pub fn next_expired(&mut self, now: Instant) -> Option<SessionId> {
        self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.deadlines.pop_first().map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(slot: u32) -> SessionId {
        SessionId {
            slot,
            generation: 0,
        }
    }

    #[test]
    fn deadlines_expire_in_order_and_not_early() {
        let now = Instant::now();
        let later = |n| now + Duration::from_secs(n);
        let mut schedule = Schedule::default();
        for n in [3, 1, 2] {
            schedule.add_deadline(later(n), id(n as u32));
        }
        schedule.remove_deadline(later(2), id(2));
        assert_eq!(schedule.first_deadline(), Some(later(1)));
        assert_eq!(schedule.next_expired(now), None);
        assert_eq!(schedule.next_expired(later(1)), Some(id(1)));
        assert_eq!(schedule.next_expired(later(2)), None);
        assert_eq!(schedule.next_expired(later(9)), Some(id(3)));
        assert_eq!(schedule.first_deadline(), None);
    }

    #[test]
    fn deadlines_that_are_put_off_keep_their_order_and_can_be_taken_back() {
        let now = Instant::now();
        let later = |n| now + Duration::from_secs(n);
        let mut schedule = Schedule::default();
        schedule.add_deadline(later(1), id(1));
        schedule.add_deadline(later(2), id(2));
        schedule.postpone(Duration::from_secs(10));
        assert_eq!(schedule.next_expired(later(10)), None);
        schedule.remove_deadline(later(12), id(2));
        assert_eq!(schedule.next_expired(later(12)), Some(id(1)));
        assert_eq!(schedule.next_expired(later(99)), None);
    }
}
