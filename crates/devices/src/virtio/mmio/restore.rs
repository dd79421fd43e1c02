//! A transport and its device, saved and restored.
//!
//! To the driver, a restored device is the one it knew: every register reads the same, and the queues go on where
//! they stood. What was saved is trusted as far as a driver is: not at all.

use super::state::{QueueWords, RestoreError, TransportState};
use super::{
    INTERRUPT_CONFIG, INTERRUPT_USED, MmioTransport, Published, VIRTIO_F_EVENT_IDX,
    VIRTIO_F_VERSION_1, register, status,
};
use crate::GuestMemory;
use crate::virtio::device::{Activation, VirtioDevice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use virtio_queue::{Queue, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress};

impl<D: VirtioDevice> MmioTransport<D> {
    /// All there is to remember. Changes nothing: the device may go on afterwards.
    pub fn save(&self) -> TransportState<D::State> {
        let queues = if self.activated {
            self.device.queues()
        } else {
            self.queues.iter().map(Queue::state).collect()
        };
        TransportState {
            device_type: self.device.device_type(),
            status: self.status,
            device_features_sel: self.device_features_sel,
            driver_features_sel: self.driver_features_sel,
            driver_features: self.driver_features,
            queue_sel: self.queue_sel as u32,
            interrupt_status: self.page.load(register::INTERRUPT_STATUS),
            config_generation: self.config_generation,
            config: self.published_config(self.config_words().len()),
            activated: self.activated,
            queues: queues.into_iter().map(QueueWords::from).collect(),
            device: self.device.save(),
        }
    }

    /// Goes on from `state` in a new transport, over the guest memory that belongs to it. Interrupts nobody: call
    /// [`MmioTransport::announce`] when interrupts can be delivered. After an error the transport is of no use.
    pub fn restore(&mut self, state: &TransportState<D::State>) -> Result<(), RestoreError> {
        self.check(state)?;
        let queues = self.restored_queues(state)?;
        self.status = state.status;
        self.device_features_sel = state.device_features_sel;
        self.driver_features_sel = state.driver_features_sel;
        self.driver_features = state.driver_features;
        self.queue_sel = state.queue_sel as usize;
        self.config_generation = state.config_generation;
        self.activated = state.activated;
        let activation = if state.activated {
            self.queues = Vec::new();
            Some(Activation {
                memory: self.memory.clone(),
                queues,
                interrupt: Arc::clone(&self.interrupt),
                features: state.driver_features,
            })
        } else {
            self.queues = queues;
            None
        };
        self.device.restore(&state.device, activation)?;
        // The device may have another configuration by now; the driver hears of it when it is announced.
        self.page.store_config(&state.config);
        self.page
            .store(register::CONFIG_GENERATION, state.config_generation);
        self.page
            .store(register::INTERRUPT_STATUS, state.interrupt_status);
        self.page.store(register::STATUS as usize, state.status);
        self.publish_features();
        self.publish_queue();
        Ok(())
    }

    /// Tells the driver what a restored device owes it: that the configuration space is not the one it read (another
    /// disk is in the slot), and that buffers were used, if an interrupt for them may have been lost between the two
    /// lives. One interrupt too many does no harm, one too few stops a driver for ever.
    pub fn announce(&mut self) {
        let unseen = self.page.load(register::INTERRUPT_STATUS) & INTERRUPT_CONFIG != 0;
        if self.publish_config() == Published::Now || unseen {
            self.signal_config();
        }
        let owed = |queue: &QueueState| may_await_interrupt(queue, &self.memory);
        if self.activated && self.device.queues().iter().any(owed) {
            self.interrupt.signal_used();
        }
    }

    fn check(&self, state: &TransportState<D::State>) -> Result<(), RestoreError> {
        let expected = self.device.device_type();
        if state.device_type != expected {
            let found = state.device_type;
            return Err(RestoreError::DeviceType { found, expected });
        }
        let working = status::FEATURES_OK | status::DRIVER_OK;
        if state.activated && state.status & working != working {
            return Err(RestoreError::Status {
                found: state.status,
            });
        }
        let (found, offered) = (state.driver_features, self.offered());
        let acceptable = found & !offered == 0 && found & VIRTIO_F_VERSION_1 != 0;
        // Until it says FEATURES_OK, a driver may write what it likes.
        if state.status & status::FEATURES_OK != 0 && !acceptable {
            return Err(RestoreError::Features { found, offered });
        }
        let found = state.interrupt_status;
        if found & INTERRUPT_USED == 0 || found & !(INTERRUPT_USED | INTERRUPT_CONFIG) != 0 {
            return Err(RestoreError::InterruptStatus { found });
        }
        let (found, expected) = (state.config.len(), self.config_words().len());
        if found != expected {
            return Err(RestoreError::Config { found, expected });
        }
        Ok(())
    }

    fn restored_queues(
        &self,
        state: &TransportState<D::State>,
    ) -> Result<Vec<Queue>, RestoreError> {
        let sizes = self.device.queue_sizes();
        if state.queues.len() != sizes.len() {
            return Err(RestoreError::Queues {
                found: state.queues.len(),
                expected: sizes.len(),
            });
        }
        let event_idx = state.activated && state.driver_features & VIRTIO_F_EVENT_IDX != 0;
        let saved = state.queues.iter().zip(sizes).enumerate();
        saved
            .map(|(queue, (words, &expected))| {
                if words.max_size != expected {
                    let found = words.max_size;
                    return Err(RestoreError::QueueMax {
                        queue,
                        found,
                        expected,
                    });
                }
                let restored = words
                    .to_queue(event_idx)
                    .map_err(|source| RestoreError::Queue { queue, source })?;
                if state.activated && !restored.is_valid(&self.memory) {
                    return Err(RestoreError::QueuePlace { queue });
                }
                Ok(restored)
            })
            .collect()
    }
}

/// Whether the driver may be waiting to hear of buffers that were used.
///
/// With EVENT_IDX the driver writes down which used buffer it waits for (virtio 1.2, section 2.7.10). It never has more
/// buffers out than the queue holds, so a word from longer ago is not one that it waits by. Without EVENT_IDX it says
/// nothing, and may always be waiting.
fn may_await_interrupt(queue: &QueueState, memory: &GuestMemory) -> bool {
    if !queue.event_idx_enabled {
        return true;
    }
    // `used_event` is behind the flags, the index and the ring.
    let address = queue.avail_ring + 4 + 2 * u64::from(queue.size);
    let Ok(awaited) = memory.load::<u16>(GuestAddress(address), Ordering::Acquire) else {
        return true;
    };
    let since = queue.next_used.wrapping_sub(u16::from_le(awaited));
    (1..=queue.size).contains(&since)
}
