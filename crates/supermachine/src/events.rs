//! What happens to a VM, as it happens.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::session::TimedOut;
use crate::supervisor::{ClientError, Shared, receive};
use proto::happening::{EventKind, Happening};
use proto::supervisor::Reply;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Something that happened to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, on this host's clock.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
}

impl From<Happening> for Event {
    fn from(happening: Happening) -> Self {
        Self {
            at: UNIX_EPOCH + Duration::from_nanos(happening.at_ns),
            kind: happening.kind,
        }
    }
}

/// What happens to a VM: an iterator that waits for the next event, and ends when the VM is gone for good. It begins
/// with the VM's start, or as far back as is remembered (128 events), and holds nothing back: who reads too slowly gets
/// [`ClientError::EventsCut`] as the last item.
#[derive(Debug)]
pub struct Events(Option<Source>);

#[derive(Debug)]
enum Source {
    /// Of a VM of this process, from this place of its journal on.
    Local { shared: Arc<Shared>, place: u64 },
    /// From the supervisor of another process.
    Remote(OwnedFd),
}

impl Events {
    pub(crate) fn local(shared: Arc<Shared>) -> Self {
        let place = shared.journal().start();
        Self(Some(Source::Local { shared, place }))
    }

    pub(crate) const fn remote(stream: OwnedFd) -> Self {
        Self(Some(Source::Remote(stream)))
    }

    /// The next event, waiting until a deadline ([`Error::Deadline`]); `None` when the VM is gone for good.
    pub fn next_deadline(&mut self, deadline: impl Into<Deadline>) -> Result<Option<Event>, Error> {
        let deadline = deadline.into();
        let limit = deadline.remaining().unwrap_or_default();
        let next = match &mut self.0 {
            None => return Ok(None),
            Some(Source::Local { shared, place }) => next_in_journal(shared, place, deadline),
            Some(Source::Remote(stream)) => next_reply(stream, deadline),
        };
        if !matches!(next, Ok(Some(_)) | Err(ClientError::TimedOut)) {
            self.0 = None;
        }
        match next {
            Ok(happening) => Ok(happening.map(Event::from)),
            Err(ClientError::TimedOut) => Err(Error::Deadline {
                waiting_for: "an event",
                limit,
            }),
            Err(error) => Err(error.into()),
        }
    }
}

fn next_in_journal(
    shared: &Shared,
    place: &mut u64,
    deadline: Deadline,
) -> Result<Option<Happening>, ClientError> {
    let found = shared.wait(deadline, |status| match shared.journal().read(*place) {
        Ok(None) if status.settled => Some(Ok(None)),
        Ok(None) => None,
        Ok(found) => Some(Ok(found)),
        Err(_) => Some(Err(ClientError::EventsCut)),
    });
    let found = found.map_err(|TimedOut| ClientError::TimedOut)??;
    *place += 1;
    Ok(found)
}

fn next_reply(stream: &OwnedFd, deadline: Deadline) -> Result<Option<Happening>, ClientError> {
    match receive(stream, deadline) {
        Ok((Reply::Happened(happening), _)) => Ok(Some(happening)),
        Ok(_) => Ok(None),
        Err(ClientError::NotRunning) => Err(ClientError::EventsCut),
        Err(error) => Err(error),
    }
}

impl Iterator for Events {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_deadline(Deadline::NEVER).transpose()
    }
}
