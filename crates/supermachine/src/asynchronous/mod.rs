//! Execs, waits and events as futures, on a tokio runtime.
//!
//! The same sessions as the blocking ones, on the same sockets: no thread waits for them. All state is in the session
//! and changes while nothing is awaited, so every future can be dropped at any point and nothing is lost or half read,
//! unless its documentation says that the process goes with it.

mod child;
mod events;
mod exec;
mod hub;
mod link;
mod reach;
mod streams;

pub use child::AsyncChild;
pub use events::AsyncEvents;
pub use streams::{AsyncOutput, AsyncStdin};
