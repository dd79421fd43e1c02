//! A device in its slot, for tests that save and restore it as the VMM does.

use super::VirtioDevice;
use super::mmio::{MmioTransport, PAGE_SIZE, RegisterPage, RestoreError, TransportState, register};
use super::probe::Probe;
use super::testing::Driver;
use crate::GuestMemory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use virtio_queue::QueueT;
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

const VIRTIO_F_VERSION_1: u64 = 1 << 32;

/// A device behind its registers.
pub struct Board<D> {
    pub memory: GuestMemory,
    pub transport: MmioTransport<D>,
    pub probe: Probe,
    page: Arc<MmapRegion>,
}

impl<D: VirtioDevice> Board<D> {
    /// A slot over `memory` with what `make` makes, as after a reset.
    pub fn new(memory: &GuestMemory, make: impl FnOnce(&Probe) -> D) -> Self {
        let page = Arc::new(MmapRegion::new(PAGE_SIZE).unwrap());
        let probe = Probe::default();
        let registers = RegisterPage::new(Arc::clone(&page), 0);
        let transport = MmioTransport::new(
            make(&probe),
            memory.clone(),
            registers,
            Arc::new(probe.clone()),
        );
        Self {
            memory: memory.clone(),
            transport,
            probe,
            page,
        }
    }

    /// The driver writes a register.
    pub fn write(&mut self, offset: u64, word: u32) {
        self.transport.write(offset, &word.to_le_bytes());
    }

    /// The driver reads a register.
    pub fn read(&self, offset: usize) -> u32 {
        self.page.as_volatile_slice().read_obj(offset).unwrap()
    }

    /// Every register the driver can read.
    pub fn registers(&self) -> Vec<u32> {
        (0..PAGE_SIZE).step_by(4).map(|at| self.read(at)).collect()
    }

    /// The driver accepts `features` and sets its queues up.
    pub fn start(&mut self, features: u64, queues: &[&Driver]) {
        self.accept(features);
        for (index, driver) in (0..).zip(queues) {
            self.set_up(index, driver);
        }
        self.write(register::STATUS, 15);
        assert_eq!(self.read(register::STATUS as usize), 15);
    }

    pub fn accept(&mut self, features: u64) {
        self.write(register::STATUS, 3);
        let features = features | VIRTIO_F_VERSION_1;
        for (sel, word) in [(1, features >> 32), (0, features & 0xffff_ffff)] {
            self.write(register::DRIVER_FEATURES_SEL, sel);
            self.write(register::DRIVER_FEATURES, word as u32);
        }
        self.write(register::STATUS, 11);
    }

    pub fn set_up(&mut self, index: u32, driver: &Driver) {
        let queue = driver.queue();
        self.write(register::QUEUE_SEL, index);
        self.write(register::QUEUE_NUM, queue.size().into());
        for (register, address) in [
            (register::QUEUE_DESC_LOW, queue.desc_table()),
            (register::QUEUE_DRIVER_LOW, queue.avail_ring()),
            (register::QUEUE_DEVICE_LOW, queue.used_ring()),
        ] {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(register::QUEUE_READY, 1);
    }

    /// What is saved, by way of the bytes of a state file.
    pub fn saved(&self) -> TransportState<D::State> {
        decode(&encode(&self.transport.save()))
    }

    /// The same machine in another process, with what `make` makes in the slot. Nobody was told anything yet.
    pub fn restored(&self, make: impl FnOnce(&Probe) -> D) -> Result<Self, RestoreError> {
        self.restored_from(&self.saved(), make)
    }

    pub fn restored_from(
        &self,
        state: &TransportState<D::State>,
        make: impl FnOnce(&Probe) -> D,
    ) -> Result<Self, RestoreError> {
        let mut board = Self::new(&self.memory, make);
        board.transport.restore(state)?;
        assert_eq!(board.probe.interrupts(), 0, "an interrupt too early");
        assert_eq!(board.probe.changes(), 0, "an interrupt too early");
        Ok(board)
    }

    /// What the VMM does once interrupts can be delivered.
    pub fn resume(&mut self) {
        self.transport.announce();
        let queues = self.transport.device().queue_sizes().len() as u32;
        (0..queues).for_each(|queue| self.transport.notify(queue));
    }
}

pub fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap()
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    let (value, rest) = postcard::take_from_bytes(bytes).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    value
}
