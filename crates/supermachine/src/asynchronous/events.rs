//! What happens to a VM, as it happens.

use super::reach::Replies;
use crate::error::Error;
use crate::events::Event;
use crate::supervisor::ClientError;
use proto::supervisor::Reply;

/// As [`crate::Events`], to be awaited.
#[derive(Debug)]
pub struct AsyncEvents(pub(super) Option<Replies>);

impl AsyncEvents {
    /// The next event; `None` when the VM is gone for good. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        let next = match self.0.as_ref()?.next().await {
            Ok((Reply::Happened(happening), _)) => return Some(Ok(happening.into())),
            Ok(_) => None,
            Err(ClientError::NotRunning) => Some(Err(ClientError::EventsCut.into())),
            Err(error) => Some(Err(error.into())),
        };
        self.0 = None;
        next
    }
}
