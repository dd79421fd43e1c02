//! The balloon, seen by a driver.

use super::{Balloon, Reclaim};
use crate::GuestMemory;
use crate::virtio::board::Board;
use crate::virtio::mmio::register;
use crate::virtio::testing::{Buffer, Driver};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Address, GuestAddress};

const REPORTING: u32 = 2;
const F_REPORTING: u64 = 1 << 5;
/// Guest memory has a hole, as that of large machines does.
const LOW: u64 = 8 << 20;
const HIGH: u64 = 16 << 20;
const MEMORY: [(GuestAddress, usize); 2] = [
    (GuestAddress(0), LOW as usize),
    (GuestAddress(HIGH), 4 << 20),
];

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Pile(Arc<Mutex<Vec<(u64, u64)>>>);

impl Reclaim for Pile {
    fn release(&self, address: GuestAddress, bytes: u64) {
        self.0.lock().unwrap().push((address.raw_value(), bytes));
    }
}

struct Guest {
    board: Board<Balloon<Pile>>,
    queues: [Driver; 3],
    pile: Pile,
}

impl Guest {
    fn new() -> Self {
        let memory = GuestMemory::from_ranges(&MEMORY).unwrap();
        let queues = [(0x1000, 8), (0x5000, 8), (0x9000, 32)]
            .map(|(base, size)| Driver::new(&memory, base, size));
        let pile = Pile::default();
        let reclaim = pile.clone();
        let mut board = Board::new(&memory, |probe| {
            Balloon::new(reclaim, Box::new(probe.clone()))
        });
        let [inflate, deflate, reporting] = &queues;
        board.start(
            1 << VIRTIO_RING_F_EVENT_IDX | F_REPORTING,
            &[inflate, deflate, reporting],
        );
        Self {
            board,
            queues,
            pile,
        }
    }

    /// Puts a chain into a queue and takes it back; returns what was released meanwhile.
    fn say(&mut self, queue: u32, chain: &[Buffer]) -> Vec<(u64, u64)> {
        let driver = &mut self.queues[queue as usize];
        let head = driver.add(chain).unwrap();
        assert!(driver.wants_kick());
        self.board.write(register::QUEUE_NOTIFY, queue);
        assert_eq!(driver.used(), [(head, 0)]);
        assert_eq!(self.board.probe.interrupts(), 1);
        std::mem::take(&mut self.pile.0.lock().unwrap())
    }
}

#[test]
fn what_the_guest_reports_is_released() {
    let mut guest = Guest::new();
    assert_eq!(guest.board.read(register::DEVICE_ID), 5);
    let report = [
        Buffer::Writable(2 << 20, 2 << 20),
        Buffer::Writable(HIGH, 4 << 20),
    ];
    assert_eq!(
        guest.say(REPORTING, &report),
        [(2 << 20, 2 << 20), (HIGH, 4 << 20)]
    );
}

#[test]
fn thirty_two_ranges_at_a_time_are_released() {
    let mut guest = Guest::new();
    let report: Vec<Buffer> = (0..32)
        .map(|i| Buffer::Writable(0x10_0000 + 0x2000 * i, 4096))
        .collect();
    for _ in 0..100 {
        assert_eq!(guest.say(REPORTING, &report).len(), 32);
    }
}

#[test]
fn only_whole_pages_are_released() {
    let mut guest = Guest::new();
    let cases = [
        ((0x10_0001, 4095), vec![]),
        ((0x10_0001, 4096), vec![]),
        ((0x10_0001, 8191), vec![(0x10_1000, 4096)]),
        ((0x10_0000, 4097), vec![(0x10_0000, 4096)]),
        ((0x10_0000, 0), vec![]),
    ];
    for ((address, length), expected) in cases {
        let released = guest.say(REPORTING, &[Buffer::Writable(address, length)]);
        assert_eq!(released, expected, "{length} bytes at {address:#x}");
    }
}

#[test]
fn reports_that_leave_memory_release_nothing() {
    let mut guest = Guest::new();
    for (address, length) in [
        (LOW - 4096, 8192),
        (LOW, 4096),
        (HIGH - 4096, 8192),
        (u64::MAX - 4095, 4096),
        (u64::MAX, u32::MAX),
        (0, u32::MAX),
    ] {
        let report = [
            Buffer::Writable(0x10_0000, 4096),
            Buffer::Writable(address, length),
        ];
        assert_eq!(guest.say(REPORTING, &report), []);
    }
}

#[test]
fn what_only_the_device_may_read_is_no_report() {
    let mut guest = Guest::new();
    assert_eq!(
        guest.say(REPORTING, &[Buffer::Readable(0x10_0000, 4096)]),
        []
    );
}

#[test]
fn pages_put_into_the_balloon_are_answered_and_stay() {
    let mut guest = Guest::new();
    for queue in [0, 1] {
        assert_eq!(guest.say(queue, &[Buffer::Readable(0x10_0000, 1024)]), []);
        assert_eq!(guest.say(queue, &[Buffer::Writable(0x10_0000, 4096)]), []);
    }
}

#[test]
fn a_guest_without_end_gets_its_turns_one_by_one() {
    let mut guest = Guest::new();
    // Each chain reports all of the upper memory 16 times: eight chains are twice what a turn gives back.
    let reporting = &mut guest.queues[REPORTING as usize];
    for _ in 0..8 {
        let ranges = [Buffer::Writable(HIGH, 4 << 20); 16];
        let table = 0x20_0000 + 0x1000 * reporting.room() as u64;
        reporting.add_indirect(table, &ranges).unwrap();
    }
    guest.board.write(register::QUEUE_NOTIFY, REPORTING);
    assert_eq!(guest.board.probe.rings(), 1);
    assert_eq!(guest.queues[REPORTING as usize].used().len(), 4);
    guest.board.transport.notify(REPORTING);
    assert_eq!(guest.queues[REPORTING as usize].used().len(), 4);
}

#[test]
fn a_report_that_waits_is_served_in_a_new_life() {
    let mut guest = Guest::new();
    let report = [Buffer::Writable(0x10_0000, 4096)];
    let reporting = &mut guest.queues[REPORTING as usize];
    reporting.add(&report).unwrap();
    assert!(reporting.wants_kick());
    let reclaim = guest.pile.clone();
    guest.board = guest
        .board
        .restored(|probe| Balloon::new(reclaim, Box::new(probe.clone())))
        .unwrap();
    guest.board.resume();
    assert_eq!(*guest.pile.0.lock().unwrap(), [(0x10_0000, 4096)]);
    assert_eq!(guest.board.probe.interrupts(), 1);
    assert_eq!(guest.queues[REPORTING as usize].used().len(), 1);
}

proptest! {
    /// Whatever is reported, only whole pages of guest memory are released.
    #[test]
    fn nothing_outside_memory_is_ever_released(
        ranges in proptest::collection::vec((any::<u64>(), any::<u32>(), 0u32..64), 1..8),
    ) {
        let mut guest = Guest::new();
        // Most addresses are folded to where memory is.
        let report: Vec<Buffer> = ranges
            .iter()
            .map(|&(address, length, shift)| Buffer::Writable(address >> shift, length >> (shift / 2)))
            .collect();
        for (address, bytes) in guest.say(REPORTING, &report) {
            prop_assert!(address.is_multiple_of(4096) && bytes.is_multiple_of(4096) && bytes > 0);
            let inside = MEMORY.iter().any(|(start, length)| {
                address >= start.raw_value()
                    && address + bytes <= start.raw_value() + *length as u64
            });
            prop_assert!(inside, "{bytes} bytes at {address:#x}");
        }
    }
}
