//! Virtio devices (virtio 1.2) behind the memory-mapped transport.

pub mod device;

pub use device::{Activation, Interrupt, VirtioDevice};
