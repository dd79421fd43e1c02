//! The network card (virtio 1.2, section 5.1): one pair of queues, segments up to 64 KiB both ways.
//!
//! The card has no back-end. Whoever serves it takes the guest's frames out with [`Net::receive`] and puts others in
//! with [`Net::send`]; where they come from and go to is not the card's business. A card that nobody serves is a link
//! without a neighbor.

mod device;
mod header;

#[cfg(test)]
mod tests;

pub use device::Net;
pub use header::{Header, Segmentation};
