//! What every virtio device is to its transport.

use super::mmio::RestoreError;
use crate::GuestMemory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use virtio_queue::{Queue, QueueState};

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
///
/// A device serves requests where it takes them: between two calls nothing is under way, neither a chain taken and
/// not answered nor an interrupt owed. So a device can be saved between any two calls, and what it leaves undone is
/// in its queues, which are guest memory.
pub trait VirtioDevice: Send {
    /// What a saved VM must remember of the device besides its queues.
    type State: Serialize + DeserializeOwned;

    /// Version of the section a saved VM keeps the device in: the transport's state with [`VirtioDevice::State`]
    /// inside. Counts up when either changes.
    const STATE_VERSION: u16;

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

    /// Where the queues stand, in the order they were activated in. None before `activate` and after `reset`.
    fn queues(&self) -> Vec<QueueState>;

    /// What must be remembered.
    fn save(&self) -> Self::State;

    /// Goes on in the place of another device of its kind, of which `state` was saved; with `activation` if that
    /// one was active. Called at most once, in front of anything else the driver does. Nothing in guest memory
    /// changes and nothing is signaled before the next `notify`.
    fn restore(
        &mut self,
        state: &Self::State,
        activation: Option<Activation>,
    ) -> Result<(), RestoreError>;
}
