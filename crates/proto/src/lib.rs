//! The words supermachine's processes exchange, and nothing else: no I/O, no threads, no policy.
//!
//! Three conversations exist, each with its own module:
//!
//! | module | who speaks | over what |
//! |---|---|---|
//! | [`control`] | library and `supermachine-vmm` | sequenced-packet socket, the VMM's standard input |
//! | [`session`] | library (or a client it passed the stream to) and the guest's agent | one vsock stream per process |
//! | [`supervisor`] | a later command and the supervisor of a running VM | sequenced-packet socket of the VM's record |
//!
//! [`frame`] cuts a byte stream into bounded frames; [`guest`] holds what the host and the guest must
//! agree on outside of any message: ports, console markers.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod control;
pub mod files;
pub mod frame;
pub mod guest;
pub mod happening;
pub mod mounts;
pub mod session;
pub mod supervisor;

use alloc::vec::Vec;
use serde::{Serialize, de::DeserializeOwned};

/// A message that could not be turned into bytes or back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not this message: cut short, too long, or written by another version.
    #[error("malformed message ({0})")]
    Malformed(postcard::Error),
    /// Bytes are left over after the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

/// Encodes one message (postcard wire format).
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("our messages hold nothing postcard refuses")
}

/// Decodes one message that must fill `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(CodecError::Malformed)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(CodecError::Trailing(rest.len()))
    }
}
