//! The socket device (virtio 1.2, section 5.10), muxed to streams of the host.
//!
//! The host opens every connection; what the guest opens is refused, and the attempt is remembered. A
//! connection joins one stream of the host with one socket of the guest:
//!
//! ```text
//! stream --read--> guest's receive queue      as long as the guest grants credit
//! stream <-write-- guest's transmit queue     what the stream does not take waits, within the credit we grant
//! ```
//!
//! The VMM watches the streams *edge-triggered*, once, when it connects them: the device remembers who is
//! ready and who is not, so that running out of queue space or credit costs no system call.

mod connection;
mod credit;
mod device;
mod muxer;
mod packet;
mod state;
mod stream;

#[cfg(test)]
mod guest;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod load;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;

pub use connection::Readiness;
pub use device::Vsock;
pub use muxer::ConnectionId;
pub use state::{Ports, StrayReset, VsockState};
pub use stream::HostStream;
