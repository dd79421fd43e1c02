//! The entropy device (virtio 1.2, section 5.4).

mod device;

#[cfg(test)]
mod tests;

pub use device::Rng;
