//! The registers, seen by a driver.

use super::*;
use std::sync::Mutex;
use virtio_queue::QueueState;
use vm_memory::GuestAddress;

#[derive(Default)]
struct Probe {
    activated: Option<u64>,
    notified: Vec<u16>,
    capacity: u64,
    queues: Vec<QueueState>,
    remembered: u64,
}

impl VirtioDevice for Probe {
    type State = u64;
    const STATE_VERSION: u16 = 1;

    fn device_type(&self) -> u32 {
        2
    }
    fn queue_sizes(&self) -> &'static [u16] {
        &[128, 64]
    }
    fn features(&self) -> u64 {
        1 << 9
    }
    fn config(&self) -> Vec<u8> {
        self.capacity.to_le_bytes().to_vec()
    }
    fn activate(&mut self, activation: Activation) {
        assert_eq!(activation.queues.len(), 2);
        self.activated = Some(activation.features);
        self.queues = activation.queues.iter().map(Queue::state).collect();
    }
    fn notify(&mut self, index: u16) {
        self.notified.push(index);
    }
    fn reset(&mut self) {
        self.activated = None;
        self.queues.clear();
    }
    fn queues(&self) -> Vec<QueueState> {
        self.queues.clone()
    }
    fn save(&self) -> u64 {
        self.remembered
    }
    fn restore(
        &mut self,
        remembered: &u64,
        activation: Option<Activation>,
    ) -> Result<(), RestoreError> {
        self.remembered = *remembered;
        if let Some(activation) = activation {
            self.activate(activation);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Line(Mutex<u32>);

impl Interrupt for Line {
    fn signal_used(&self) {}
    fn signal_config(&self) {
        *self.0.lock().unwrap() += 1;
    }
}

fn transport() -> (MmioTransport<Probe>, Arc<MmapRegion>, Arc<Line>) {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let region = Arc::new(MmapRegion::new(2 * PAGE_SIZE).unwrap());
    let line = Arc::new(Line::default());
    let page = RegisterPage::new(Arc::clone(&region), 1);
    (
        MmioTransport::new(Probe::default(), memory, page, Arc::clone(&line) as _),
        region,
        line,
    )
}

fn read(region: &MmapRegion, offset: usize) -> u32 {
    region
        .as_volatile_slice()
        .read_obj(PAGE_SIZE + offset)
        .unwrap()
}

fn write(transport: &mut MmioTransport<Probe>, offset: u64, word: u32) {
    transport.write(offset, &word.to_le_bytes());
}

fn set_up_queues(transport: &mut MmioTransport<Probe>) {
    for (index, size) in [(0, 128), (1, 64)] {
        write(transport, register::QUEUE_SEL, index);
        write(transport, register::QUEUE_NUM, size);
        write(transport, register::QUEUE_DESC_LOW, 0x1000 + 0x4000 * index);
        write(
            transport,
            register::QUEUE_DRIVER_LOW,
            0x2000 + 0x4000 * index,
        );
        write(
            transport,
            register::QUEUE_DEVICE_LOW,
            0x3000 + 0x4000 * index,
        );
        write(transport, register::QUEUE_READY, 1);
    }
}

fn negotiate(transport: &mut MmioTransport<Probe>, features: u64) {
    write(transport, register::STATUS, 3);
    for sel in 0..2 {
        write(transport, register::DRIVER_FEATURES_SEL, sel);
        write(
            transport,
            register::DRIVER_FEATURES,
            (features >> (32 * sel)) as u32,
        );
    }
    write(transport, register::STATUS, 3 | 8);
}

#[test]
fn a_driver_finds_the_device_by_reading_memory_alone() {
    let (_transport, region, _) = transport();
    assert_eq!(read(&region, 0), 0x7472_6976);
    assert_eq!(read(&region, 4), 2);
    assert_eq!(read(&region, 8), 2);
    assert_eq!(read(&region, 0x34), 128);
    assert_eq!(read(&region, 0xb0), u32::MAX);
}

#[test]
fn selectors_change_what_the_page_shows() {
    let (mut transport, region, _) = transport();
    assert_eq!(read(&region, 0x10), 1 << 9);
    write(&mut transport, 0x14, 1);
    assert_eq!(read(&region, 0x10), 1);
    write(&mut transport, 0x14, 2);
    assert_eq!(read(&region, 0x10), 0);
    write(&mut transport, register::QUEUE_SEL, 1);
    assert_eq!(read(&region, 0x34), 64);
    write(&mut transport, register::QUEUE_SEL, 7);
    assert_eq!(read(&region, 0x34), 0);
}

#[test]
fn a_whole_negotiation_activates_and_a_reset_takes_it_back() {
    let (mut transport, region, _) = transport();
    negotiate(&mut transport, VIRTIO_F_VERSION_1 | 1 << 9);
    assert_eq!(read(&region, 0x70), 11);
    set_up_queues(&mut transport);
    assert_eq!(read(&region, 0x44), 1);
    write(&mut transport, register::STATUS, 15);
    assert_eq!(
        transport.device().activated,
        Some(VIRTIO_F_VERSION_1 | 1 << 9)
    );
    write(&mut transport, register::QUEUE_NOTIFY, 1);
    write(&mut transport, register::QUEUE_NOTIFY, 2);
    write(&mut transport, register::QUEUE_NOTIFY, u32::MAX);
    assert_eq!(transport.device().notified, [1]);
    write(&mut transport, register::STATUS, 0);
    assert_eq!(transport.device().activated, None);
    assert_eq!(read(&region, 0x70), 0);
    write(&mut transport, register::QUEUE_NOTIFY, 0);
    assert_eq!(transport.device().notified, [1]);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let (mut transport, region, _) = transport();
    negotiate(&mut transport, VIRTIO_F_VERSION_1 | 1 << 5);
    assert_eq!(read(&region, 0x70) & 8, 0);
    set_up_queues(&mut transport);
    write(&mut transport, register::STATUS, 15);
    assert_eq!(transport.device().activated, None);
    assert_ne!(read(&region, 0x70) & status::NEEDS_RESET, 0);
}

#[test]
fn queues_outside_guest_memory_need_a_reset() {
    let (mut transport, region, _) = transport();
    negotiate(&mut transport, VIRTIO_F_VERSION_1);
    set_up_queues(&mut transport);
    write(&mut transport, register::QUEUE_DESC_HIGH, 1);
    write(&mut transport, register::STATUS, 15);
    assert_eq!(transport.device().activated, None);
    assert_ne!(read(&region, 0x70) & status::NEEDS_RESET, 0);
}

#[test]
fn a_new_configuration_has_a_new_generation_and_interrupts() {
    let (mut transport, region, line) = transport();
    negotiate(&mut transport, VIRTIO_F_VERSION_1);
    set_up_queues(&mut transport);
    write(&mut transport, register::STATUS, 15);
    let before = read(&region, 0xfc);
    transport.device_mut().capacity = 77;
    transport.config_changed();
    assert_eq!(read(&region, 0x100), 77);
    assert_ne!(read(&region, 0xfc), before);
    assert_eq!(*line.0.lock().unwrap(), 1);
}
