//! What a saved VM remembers of a device, and what can be wrong with it.

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueState};

/// A transport and the device behind it. `S` is the device's own part.
///
/// The bytes of this in a state file are frozen by tests; whoever changes it counts every device's
/// [`STATE_VERSION`](crate::virtio::VirtioDevice::STATE_VERSION) up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportState<S> {
    /// Device id.
    pub device_type: u32,
    /// Device status, as the driver sees it.
    pub status: u32,
    /// Which half of the offered features the driver looks at.
    pub device_features_sel: u32,
    /// Which half of its features the driver writes.
    pub driver_features_sel: u32,
    /// What the driver accepted.
    pub driver_features: u64,
    /// Which queue the driver sets up.
    pub queue_sel: u32,
    /// The interrupt status word, as the driver sees it.
    pub interrupt_status: u32,
    /// Generation of the configuration space.
    pub config_generation: u32,
    /// The configuration space, as the driver sees it, in words.
    pub config: Vec<u32>,
    /// Whether the driver got as far as DRIVER_OK and the device works.
    pub activated: bool,
    /// The queues, in the device's order.
    pub queues: Vec<QueueWords>,
    /// The device's own part.
    pub device: S,
}

/// A queue: where it is, and how far the device is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueWords {
    /// The most entries the device allows.
    pub max_size: u16,
    /// Entries.
    pub size: u16,
    /// Whether the driver has set it up.
    pub ready: bool,
    /// Guest address of the descriptor table.
    pub descriptors: u64,
    /// Guest address of the available ring.
    pub available: u64,
    /// Guest address of the used ring.
    pub used: u64,
    /// Chains taken so far, modulo 2^16.
    pub next_available: u16,
    /// Chains answered so far, modulo 2^16.
    pub next_used: u16,
}

impl From<QueueState> for QueueWords {
    fn from(state: QueueState) -> Self {
        Self {
            max_size: state.max_size,
            size: state.size,
            ready: state.ready,
            descriptors: state.desc_table,
            available: state.avail_ring,
            used: state.used_ring,
            next_available: state.next_avail,
            next_used: state.next_used,
        }
    }
}

impl QueueWords {
    /// The queue itself, if sizes and alignments are possible. EVENT_IDX is a matter of the features.
    pub(super) fn to_queue(self, event_idx: bool) -> Result<Queue, virtio_queue::Error> {
        Queue::try_from(QueueState {
            max_size: self.max_size,
            next_avail: self.next_available,
            next_used: self.next_used,
            event_idx_enabled: event_idx,
            size: self.size,
            ready: self.ready,
            desc_table: self.descriptors,
            avail_ring: self.available,
            used_ring: self.used,
        })
    }
}

/// Why a device cannot go on from what was saved. The device that refused is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Another kind of device was saved.
    #[error("a device of type {found} was saved, this one is of type {expected}")]
    DeviceType {
        /// The one saved.
        found: u32,
        /// This one.
        expected: u32,
    },
    /// The driver accepted what this device does not offer.
    #[error("the driver accepted features {found:#x}, this device offers {offered:#x}")]
    Features {
        /// What the driver accepted.
        found: u64,
        /// What there is.
        offered: u64,
    },
    /// The status is none an active device can have.
    #[error("an active device cannot have status {found:#x}")]
    Status {
        /// The one saved.
        found: u32,
    },
    /// The interrupt status word is none the device shows.
    #[error("the interrupt status cannot be {found:#x}")]
    InterruptStatus {
        /// The one saved.
        found: u32,
    },
    /// The configuration space has another length.
    #[error("a configuration space of {found} words was saved, this device has {expected}")]
    Config {
        /// Words saved.
        found: usize,
        /// Words of this device.
        expected: usize,
    },
    /// The device has another number of queues.
    #[error("{found} queues were saved, this device has {expected}")]
    Queues {
        /// How many were saved.
        found: usize,
        /// How many this device has.
        expected: usize,
    },
    /// A queue of the device has another limit.
    #[error("queue {queue} was saved with {found} entries at most, this device allows {expected}")]
    QueueMax {
        /// Which queue.
        queue: usize,
        /// The limit saved.
        found: u16,
        /// This device's.
        expected: u16,
    },
    /// The size or an address of a queue is impossible.
    #[error("queue {queue} has an impossible size or address")]
    Queue {
        /// Which queue.
        queue: usize,
        /// Which of them.
        source: virtio_queue::Error,
    },
    /// A queue of an active device is not ready, or not in guest memory.
    #[error("queue {queue} of an active device is not ready or not in guest memory")]
    QueuePlace {
        /// Which queue.
        queue: usize,
    },
    /// The next connection would have a port that is never given out.
    #[error("host port {found:#x} is none that connections get")]
    HostPort {
        /// The port saved.
        found: u32,
    },
}
