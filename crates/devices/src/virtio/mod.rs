//! Virtio devices (virtio 1.2) behind the memory-mapped transport.

pub mod balloon;
pub mod blk;
pub mod buffers;
pub mod device;
pub mod doorbell;
pub mod mmio;
pub mod net;
pub mod rng;
pub mod vsock;

mod ring;

#[cfg(test)]
mod board;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod testing;

pub use device::{Activation, Interrupt, VirtioDevice};
pub use doorbell::Doorbell;
