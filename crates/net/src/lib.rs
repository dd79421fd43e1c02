//! The user-mode network of one VM.
//!
//! The guest has an Ethernet card on a link with one neighbor, the gateway, which is this crate. What the guest sends
//! ends here: a TCP connection is accepted once the host's own connection to the same place stands, a datagram leaves
//! by a socket of the host, and what a policy refuses is answered at once. So no privilege, no interface and no
//! address of the host's is needed, and the guest reaches nothing that a socket of this process could not.
//!
//! ```text
//! frames ── Link ── Stack ─┬─ tcp     a connection per flow, spliced
//!                          ├─ udp     a socket per flow; pings too
//!                          ├─ members packets from guest to guest, on a network of several
//!                          ├─ dns     the gateway's resolver
//!                          └─ policy  asked once per flow
//! ```
//!
//! Between the link and the stack is a meter, which holds frames back that are more than a limit allows.
//!
//! One thread drives it: [`Waiter::wait`] waits, [`Stack::turn`] does what there is to do, and nothing blocks.
//! See docs/decisions/0008-network-stack.md for why it is not somebody else's stack.
#![forbid(unsafe_code)]

mod addresses;
mod bucket;
mod dns;
mod link;
mod local;
mod lost;
mod members;
mod meter;
mod outbox;
pub mod policy;
mod poll;
mod publish;
mod socket;
mod stack;
mod table;
mod tcp;
mod udp;
mod wire;

pub use addresses::{
    Addresses, GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, MTU, PREFIX_MEMBER, PREFIX_V4, PREFIX_V6,
    Subnet,
};
pub use dns::Upstream;
pub use link::{Frame, Link, Segmentation};
pub use lost::Lost;
pub use meter::{Limits, Passed, Traffic};
pub use publish::Published;
pub use stack::{Config, Quest, Refusal, Stack, Waiter, Woken};
