//! The life of a VM, seen from the host: starting it, then watching it from a thread until it has ended.
//!
//! The thread owns the VMM's socket, the main session, the log, the client socket and the record. It ends when
//! the VM does. If the whole process dies instead, the kernel closes the VMM's socket, which ends the VM, and
//! frees the record's lock, which tells everybody.

mod attachment;
mod attachments;
mod boot;
mod client;
mod clients;
mod copying;
mod ending;
mod estate;
mod fork;
mod hold;
mod journal;
mod listener;
mod machine;
mod members;
mod network;
mod plan;
mod shared;
mod snapshot;
mod starting;
mod thread;

pub(crate) use boot::{Launch, Source, Started, Tenure, Warnings, start};
pub use client::ClientError;
#[cfg(feature = "tokio")]
pub(crate) use client::try_reply;
pub(crate) use client::{Client, receive};
pub(crate) use estate::{Estate, Next};
pub(crate) use plan::{BootImage, Facts, Plan};
pub(crate) use shared::{Order, Outcome, Shared, Status};
pub(crate) use snapshot::FACTS;
