//! What happened to a VM, for those who ask late.

use crate::time::unix_nanos;
use proto::happening::{EventKind, Happening};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How many are remembered: together they fit into the buffer of a socket whose reader is busy.
const REMEMBERED: usize = 128;

/// What happened to a VM over all its lives, the oldest forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    happenings: VecDeque<Happening>,
    forgotten: u64,
}

/// The reader was slower than what happened: something was forgotten before it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what happens now.
    pub(super) fn note(&self, kind: EventKind) -> Happening {
        let happening = Happening {
            at_ns: unix_nanos(SystemTime::now()),
            kind,
        };
        let mut pages = self.lock();
        if pages.happenings.len() == REMEMBERED {
            pages.happenings.pop_front();
            pages.forgotten += 1;
        }
        pages.happenings.push_back(happening.clone());
        happening
    }

    /// Everything that is remembered.
    pub(super) fn all(&self) -> Vec<Happening> {
        self.lock().happenings.iter().cloned().collect()
    }

    /// Where the oldest that is remembered stands.
    pub(crate) fn start(&self) -> u64 {
        self.lock().forgotten
    }

    /// What stands at this place, if anything does yet.
    pub(crate) fn read(&self, place: u64) -> Result<Option<Happening>, Forgotten> {
        let pages = self.lock();
        let at = place.checked_sub(pages.forgotten).ok_or(Forgotten)?;
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        Ok(pages.happenings.get(at).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_everything_in_order_or_hears_that_it_was_too_slow() {
        let journal = Journal::default();
        let forked = |count| EventKind::Forked { count };
        let most = REMEMBERED as u32;
        for count in 0..most {
            journal.note(forked(count));
        }
        let kind = |place| Ok(journal.read(place)?.map(|happening| happening.kind));
        assert_eq!(kind(0), Ok(Some(forked(0))));
        assert_eq!(kind(u64::from(most)), Ok(None));
        journal.note(forked(most));
        assert_eq!(kind(0), Err(Forgotten));
        assert_eq!(kind(journal.start()), Ok(Some(forked(1))));
        assert_eq!(kind(u64::from(most)), Ok(Some(forked(most))));
        assert_eq!(journal.all().len(), REMEMBERED);
    }
}
