//! The host's end of a session: one stream to the guest's agent, one process inside.
//!
//! [`state`] is the protocol without I/O: frames in, frames out, credit. [`Session`] puts it on a socket and
//! lets any number of threads wait on it without a thread of its own. [`collect()`] runs a whole exec in the
//! caller's thread.

mod collect;
mod error;
mod inbox;
mod io;
mod outbox;
mod shared;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use collect::{CollectError, Collected, collect, collect_into};
pub use error::SessionError;
pub use io::{OutputReader, StdinWriter};
pub(crate) use outbox::Outbox;
pub(crate) use shared::{Session, TimedOut};
pub(crate) use state::{Answer, Step, Tee};
#[cfg(feature = "tokio")]
pub(crate) use state::{Finished, State};
