//! What every virtio device is to its transport.

use crate::GuestMemory;
use std::sync::Arc;
use virtio_queue::Queue;

/// How a device tells its driver something.
pub trait Interrupt: Send + Sync {
    /// Buffers were used. Called at most once per batch, and only when the driver wants to know.
    fn signal_used(&self);
    /// The configuration space changed.
    fn signal_config(&self);
}

/// What the driver set up before it set DRIVER_OK.
pub struct Activation {
    /// Guest memory.
    pub memory: GuestMemory,
    /// The queues, ready and validated, in the device's order.
    pub queues: Vec<Queue>,
    /// The way back to the driver.
    pub interrupt: Arc<dyn Interrupt>,
    /// The features both sides agreed on.
    pub features: u64,
}

/// A virtio device without its transport.
pub trait VirtioDevice: Send {
    /// Device id (virtio 1.2, section 5).
    fn device_type(&self) -> u32;

    /// Maximum size of each queue; its length is the number of queues.
    fn queue_sizes(&self) -> &'static [u16];

    /// Features this device offers besides VIRTIO_F_VERSION_1, which the transport adds.
    fn features(&self) -> u64;

    /// The configuration space, at most 256 bytes.
    fn config(&self) -> Vec<u8>;

    /// The driver is ready; the device may use its queues from now on.
    fn activate(&mut self, activation: Activation);

    /// The driver notified queue `index`. Not called before `activate` or after `reset`.
    fn notify(&mut self, index: u16);

    /// The driver reset the device: forget the queues and everything that came from the guest.
    fn reset(&mut self);
}
