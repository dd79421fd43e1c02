//! Virtio devices (virtio 1.2) behind the memory-mapped transport.

pub mod device;
pub mod mmio;

pub use device::{Activation, Interrupt, VirtioDevice};
