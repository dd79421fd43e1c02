//! The memory-mapped transport (virtio 1.2, section 4.2), laid out so that reading a register never leaves
//! the guest.
//!
//! A device's registers are one page. The VMM gives the guest that page as *read-only memory*: a read is an
//! ordinary load, and only a write traps. So the transport's job is to keep the page telling the truth:
//! after each write it stores what the next read must find. Exits are the dearest thing a VMM buys, and
//! probing a virtio device is mostly reading.
//!
//! The interrupt status register gets the same treatment: its "used buffer" bit always reads 1, so a driver
//! that asks "was it you?" gets an answer for free, and the VMM absorbs the acknowledging write with an
//! eventfd. A driver that looks into an empty used ring finds nothing and returns; interrupts are not shared.

mod restore;
mod state;

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;

pub use state::{QueueWords, RestoreError, TransportState};

use super::device::{Activation, Interrupt, VirtioDevice};
use crate::GuestMemory;
use std::sync::Arc;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

/// Bytes of one device's registers.
pub const PAGE_SIZE: usize = 4096;

/// Register offsets (virtio 1.2, table 4.1) that the VMM needs to know.
pub mod register {
    /// The driver writes a queue's index here when it added buffers.
    pub const QUEUE_NOTIFY: u64 = 0x050;
    /// The driver writes the interrupt bits it has seen here.
    pub const INTERRUPT_ACK: u64 = 0x064;

    pub(in crate::virtio) const MAGIC: usize = 0x000;
    pub(in crate::virtio) const VERSION: usize = 0x004;
    pub(in crate::virtio) const DEVICE_ID: usize = 0x008;
    pub(in crate::virtio) const VENDOR_ID: usize = 0x00c;
    pub(in crate::virtio) const DEVICE_FEATURES: usize = 0x010;
    pub(in crate::virtio) const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub(in crate::virtio) const DRIVER_FEATURES: u64 = 0x020;
    pub(in crate::virtio) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(in crate::virtio) const QUEUE_SEL: u64 = 0x030;
    pub(in crate::virtio) const QUEUE_NUM_MAX: usize = 0x034;
    pub(in crate::virtio) const QUEUE_NUM: u64 = 0x038;
    pub(in crate::virtio) const QUEUE_READY: u64 = 0x044;
    pub(in crate::virtio) const INTERRUPT_STATUS: usize = 0x060;
    pub(in crate::virtio) const STATUS: u64 = 0x070;
    pub(in crate::virtio) const QUEUE_DESC_LOW: u64 = 0x080;
    pub(in crate::virtio) const QUEUE_DESC_HIGH: u64 = 0x084;
    pub(in crate::virtio) const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub(in crate::virtio) const QUEUE_DRIVER_HIGH: u64 = 0x094;
    pub(in crate::virtio) const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub(in crate::virtio) const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    pub(in crate::virtio) const SHM_LEN_LOW: usize = 0x0b0;
    pub(in crate::virtio) const SHM_BASE_HIGH: usize = 0x0bc;
    pub(in crate::virtio) const CONFIG_GENERATION: usize = 0x0fc;
    pub(in crate::virtio) const CONFIG: usize = 0x100;
}

/// Device status bits (virtio 1.2, section 2.1).
mod status {
    pub const FEATURES_OK: u32 = 8;
    pub const DRIVER_OK: u32 = 4;
    pub const NEEDS_RESET: u32 = 64;
}

const INTERRUPT_USED: u32 = 1;
const INTERRUPT_CONFIG: u32 = 2;
const VIRTIO_F_VERSION_1: u64 = 1 << 32;
const VIRTIO_F_EVENT_IDX: u64 = 1 << 29;

/// The page of registers that the guest reads.
#[derive(Clone)]
pub struct RegisterPage {
    region: Arc<MmapRegion>,
    base: usize,
}

impl RegisterPage {
    /// Page number `index` of a region that the guest sees as read-only memory.
    ///
    /// # Panics
    /// If the region ends before that page does.
    pub fn new(region: Arc<MmapRegion>, index: usize) -> Self {
        let base = index * PAGE_SIZE;
        assert!(
            region.len() >= base + PAGE_SIZE,
            "register page {index} is outside its region"
        );
        Self { region, base }
    }

    fn store(&self, offset: usize, value: u32) {
        let page = self.region.as_volatile_slice();
        page.store(
            value,
            self.base + offset,
            std::sync::atomic::Ordering::Release,
        )
        .expect("every register is an aligned word of the page");
    }

    fn load(&self, offset: usize) -> u32 {
        let page = self.region.as_volatile_slice();
        page.load(self.base + offset, std::sync::atomic::Ordering::Acquire)
            .expect("every register is an aligned word of the page")
    }

    fn store_config(&self, words: &[u32]) {
        for (i, &word) in words.iter().enumerate() {
            self.store(register::CONFIG + 4 * i, word);
        }
    }

    /// Adds the "configuration changed" bit to what the driver finds when it is interrupted.
    pub fn raise_config_change(&self) {
        self.store(
            register::INTERRUPT_STATUS,
            INTERRUPT_USED | INTERRUPT_CONFIG,
        );
    }

    /// Takes that bit back, once the driver acknowledged it.
    pub fn clear_config_change(&self) {
        self.store(register::INTERRUPT_STATUS, INTERRUPT_USED);
    }
}

/// A virtio device as the guest's bus sees it: registers in, queue processing out.
pub struct MmioTransport<D> {
    device: D,
    memory: GuestMemory,
    interrupt: Arc<dyn Interrupt>,
    page: RegisterPage,
    queues: Vec<Queue>,
    status: u32,
    device_features_sel: u32,
    driver_features_sel: u32,
    driver_features: u64,
    queue_sel: usize,
    config_generation: u32,
    activated: bool,
}

impl<D: VirtioDevice> MmioTransport<D> {
    /// Puts `device` behind `page`, in the state after a reset.
    pub fn new(
        device: D,
        memory: GuestMemory,
        page: RegisterPage,
        interrupt: Arc<dyn Interrupt>,
    ) -> Self {
        let mut transport = Self {
            device,
            memory,
            interrupt,
            page,
            queues: Vec::new(),
            status: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            config_generation: 0,
            activated: false,
        };
        transport
            .page
            .store(register::MAGIC, u32::from_le_bytes(*b"virt"));
        transport.page.store(register::VERSION, 2);
        transport
            .page
            .store(register::DEVICE_ID, transport.device.device_type());
        transport
            .page
            .store(register::VENDOR_ID, u32::from_le_bytes(*b"smvm"));
        // No shared memory regions: length and base read as all ones (section 4.2.2).
        for offset in (register::SHM_LEN_LOW..=register::SHM_BASE_HIGH).step_by(4) {
            transport.page.store(offset, u32::MAX);
        }
        transport.page.clear_config_change();
        transport.publish_config();
        transport.clear();
        transport
    }

    /// The device behind the registers.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// The device behind the registers, to hand it work from the host's side.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Tells the driver that the device's configuration space is not what it read before.
    pub fn config_changed(&mut self) {
        self.publish_config();
        self.signal_config();
    }

    fn signal_config(&self) {
        if self.activated {
            self.interrupt.signal_config();
        }
    }

    /// A register write by the guest. Anything but an aligned word inside the page is ignored, as are
    /// writes to read-only registers.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let Ok(word) = data.try_into().map(u32::from_le_bytes) else {
            return;
        };
        match offset {
            register::DEVICE_FEATURES_SEL => {
                self.device_features_sel = word;
                self.publish_features();
            }
            register::DRIVER_FEATURES_SEL => self.driver_features_sel = word,
            register::DRIVER_FEATURES => self.accept_features(word),
            register::QUEUE_SEL => {
                self.queue_sel = word as usize;
                self.publish_queue();
            }
            register::QUEUE_NOTIFY => self.notify(word),
            register::STATUS => self.set_status(word),
            register::QUEUE_NUM
            | register::QUEUE_READY
            | register::QUEUE_DESC_LOW..=register::QUEUE_DESC_HIGH
            | register::QUEUE_DRIVER_LOW..=register::QUEUE_DRIVER_HIGH
            | register::QUEUE_DEVICE_LOW..=register::QUEUE_DEVICE_HIGH => {
                self.write_queue(offset, word);
            }
            _ => {}
        }
    }

    /// The driver notified one queue (or, from an eventfd shared by all queues, call it for each).
    pub fn notify(&mut self, queue: u32) {
        if let (true, Ok(queue)) = (self.activated, u16::try_from(queue))
            && usize::from(queue) < self.device.queue_sizes().len()
        {
            self.device.notify(queue);
        }
    }

    fn accept_features(&mut self, word: u32) {
        if self.status & status::FEATURES_OK != 0 || self.driver_features_sel > 1 {
            return;
        }
        let shift = 32 * self.driver_features_sel;
        self.driver_features =
            (self.driver_features & !(0xffff_ffff << shift)) | (u64::from(word) << shift);
    }

    fn offered(&self) -> u64 {
        self.device.features() | VIRTIO_F_VERSION_1
    }

    fn set_status(&mut self, word: u32) {
        if word == 0 {
            self.device.reset();
            self.clear();
            return;
        }
        // A driver only ever adds bits (section 2.1.1).
        let added = word & !self.status;
        self.status |= word;
        if added & status::FEATURES_OK != 0 && !self.features_acceptable() {
            self.status &= !status::FEATURES_OK;
        }
        if added & status::DRIVER_OK != 0 && !self.activated {
            self.activate();
        }
        self.page.store(register::STATUS as usize, self.status);
    }

    fn features_acceptable(&self) -> bool {
        self.driver_features & !self.offered() == 0
            && self.driver_features & VIRTIO_F_VERSION_1 != 0
    }

    fn activate(&mut self) {
        let usable = self.status & status::FEATURES_OK != 0
            && self.queues.iter().all(|queue| queue.is_valid(&self.memory));
        if !usable {
            self.status |= status::NEEDS_RESET;
            return;
        }
        let event_idx = self.driver_features & VIRTIO_F_EVENT_IDX != 0;
        for queue in &mut self.queues {
            queue.set_event_idx(event_idx);
        }
        self.activated = true;
        self.device.activate(Activation {
            memory: self.memory.clone(),
            queues: std::mem::take(&mut self.queues),
            interrupt: Arc::clone(&self.interrupt),
            features: self.driver_features,
        });
    }

    fn write_queue(&mut self, offset: u64, word: u32) {
        let Some(queue) = self.queues.get_mut(self.queue_sel) else {
            return;
        };
        match offset {
            register::QUEUE_NUM => {
                if let Ok(size) = u16::try_from(word) {
                    queue.set_size(size);
                }
            }
            register::QUEUE_READY => queue.set_ready(word == 1),
            register::QUEUE_DESC_LOW => queue.set_desc_table_address(Some(word), None),
            register::QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(word)),
            register::QUEUE_DRIVER_LOW => queue.set_avail_ring_address(Some(word), None),
            register::QUEUE_DRIVER_HIGH => queue.set_avail_ring_address(None, Some(word)),
            register::QUEUE_DEVICE_LOW => queue.set_used_ring_address(Some(word), None),
            register::QUEUE_DEVICE_HIGH => queue.set_used_ring_address(None, Some(word)),
            _ => {}
        }
        self.publish_queue();
    }

    /// Back to the state after a reset, on our side and on the page.
    fn clear(&mut self) {
        self.queues = self
            .device
            .queue_sizes()
            .iter()
            .map(|&size| {
                Queue::new(size).expect("a device's queue size is a power of two up to 32768")
            })
            .collect();
        self.status = 0;
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.driver_features = 0;
        self.queue_sel = 0;
        self.activated = false;
        self.page.clear_config_change();
        self.page.store(register::STATUS as usize, 0);
        self.publish_features();
        self.publish_queue();
    }

    fn publish_features(&self) {
        let word = match self.device_features_sel {
            0 => self.offered() as u32,
            1 => (self.offered() >> 32) as u32,
            _ => 0,
        };
        self.page.store(register::DEVICE_FEATURES, word);
    }

    fn publish_queue(&self) {
        let max = self
            .device
            .queue_sizes()
            .get(self.queue_sel)
            .copied()
            .unwrap_or(0);
        // An active device has its queues itself, and every one of them is ready.
        let ready = match self.activated {
            true => max > 0,
            false => self.queues.get(self.queue_sel).is_some_and(Queue::ready),
        };
        self.page.store(register::QUEUE_NUM_MAX, u32::from(max));
        self.page
            .store(register::QUEUE_READY as usize, u32::from(ready));
    }

    /// Writes the configuration space between two generations, so that a driver that reads it meanwhile
    /// knows to read again (section 2.5). Says whether there was anything new to write.
    fn publish_config(&mut self) -> Published {
        let config = self.config_words();
        if config == self.published_config(config.len()) {
            return Published::Already;
        }
        self.page.store_config(&config);
        self.config_generation = self.config_generation.wrapping_add(1);
        self.page
            .store(register::CONFIG_GENERATION, self.config_generation);
        Published::Now
    }

    /// The device's configuration space, in words.
    fn config_words(&self) -> Vec<u32> {
        let mut config = self.device.config();
        config.resize(config.len().next_multiple_of(4), 0);
        let (words, _) = config.as_chunks::<4>();
        words.iter().map(|&word| u32::from_le_bytes(word)).collect()
    }

    /// What the driver finds as the first `words` words of the configuration space.
    fn published_config(&self, words: usize) -> Vec<u32> {
        (0..words)
            .map(|i| self.page.load(register::CONFIG + 4 * i))
            .collect()
    }
}

/// What became of an attempt to publish the configuration space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    /// The driver finds another one now.
    Now,
    /// The driver found this one already.
    Already,
}
