//! The way to a VM's agent, from its own process or another one.

use crate::deadline::Deadline;
use crate::error::Error;
use crate::session::SessionError;
use crate::supervisor::{Client, ClientError, Outcome, Shared};
use crate::vmm::VmmConnector;
use proto::supervisor::{Reply, RequestBody};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How long the supervisor gets to find out why a session broke.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long another process gets to answer what it answers at once.
const ANSWER: Duration = Duration::from_secs(30);

/// The way to a VM's agent.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    /// The VM is supervised in this process.
    Local {
        /// Straight to the VMM.
        connector: VmmConnector,
        /// What the supervisor knows.
        shared: Arc<Shared>,
    },
    /// The VM is supervised in another process.
    Remote(Client),
}

impl Reach {
    /// A stream to the agent.
    pub(crate) fn connect(&self, deadline: Deadline) -> Result<OwnedFd, Error> {
        match self {
            Self::Local { connector, .. } => connector
                .connect(deadline)
                .map_err(|error| self.why_gone().unwrap_or(error.into())),
            Self::Remote(client) => {
                match client.ask(RequestBody::Connect, deadline.min(Deadline::after(ANSWER)))? {
                    (Reply::Done, Some(stream)) => Ok(stream),
                    _ => Err(ClientError::NoStream.into()),
                }
            }
        }
    }

    /// The error of a session, or the end of the VM if that is the reason.
    pub(crate) fn explain(&self, error: SessionError) -> Error {
        if is_broken(&error) {
            self.why_gone().unwrap_or_else(|| error.into())
        } else {
            error.into()
        }
    }

    /// Why the VM has ended, if it has.
    fn why_gone(&self) -> Option<Error> {
        let Self::Local { shared, .. } = self else {
            return None;
        };
        let ended = shared.wait(Deadline::after(LAST_WORDS), |status| status.outcome.clone());
        ended.ok().map(is_end)
    }
}

/// Whether the end of the VM may be the reason.
pub(crate) const fn is_broken(error: &SessionError) -> bool {
    matches!(
        error,
        SessionError::Cut | SessionError::Unreachable | SessionError::Socket(_)
    )
}

/// What the end of the VM means to who still wanted something of it.
pub(crate) fn is_end(outcome: Outcome) -> Error {
    match outcome {
        Outcome::Failed(error) => Error::Shared(error),
        Outcome::Stopped | Outcome::Exited(_) => ClientError::NotRunning.into(),
    }
}
