//! The block device between two lives.

use super::guest::{OK, READ, WRITE, disk_of, file_of, noise};
use super::{Access, Block, FileDisk, Piece};
use crate::GuestMemory;
use crate::virtio::board::Board;
use crate::virtio::mmio::register;
use crate::virtio::probe::Probe;
use crate::virtio::testing::{Buffer, Driver};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::{Bytes, GuestAddress};

const SECTORS: u64 = 64;
const SECTOR: usize = 512;
/// Each request has a place of its own: header, status, and a sector.
const PLACES: u64 = 0x10_0000;
const PLACE: u64 = 0x1000;
const STATUS: u64 = 0x100;
const DATA: u64 = 0x200;

fn disk(disk: Option<FileDisk>) -> impl FnOnce(&Probe) -> Block<FileDisk> {
    move |probe| {
        let mut device = Block::new(
            Access::ReadWrite,
            "disk",
            Box::new(probe.clone()),
            Box::new(|_| ()),
        );
        device.set_backend(disk);
        device
    }
}

fn over(file: &File) -> impl FnOnce(&Probe) -> Block<FileDisk> {
    let piece = Piece {
        file: file.try_clone().unwrap(),
        len: SECTORS * SECTOR as u64,
    };
    disk(Some(FileDisk::new([piece]).unwrap()))
}

/// A request, its status, and the sector it read or wrote.
type Outcome = (u64, u8, Vec<u8>);

/// What a guest leaves behind.
#[derive(Debug, PartialEq, Eq)]
struct End {
    outcomes: Vec<Outcome>,
    disk: Vec<u8>,
}

/// A guest whose driver does what an honest driver does, over a disk of [`SECTORS`].
struct Guest {
    board: Board<Block<FileDisk>>,
    driver: Driver,
    file: File,
    requests: u64,
    /// Requests that are not answered, by the head of their chain.
    open: HashMap<u16, u64>,
    outcomes: Vec<Outcome>,
}

impl Guest {
    fn new() -> Self {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 16 << 20)]).unwrap();
        let file = file_of(&noise(SECTORS as usize * SECTOR, 9));
        let driver = Driver::new(&memory, 0x1000, 128);
        let mut board = Board::new(&memory, over(&file));
        board.start(1 << VIRTIO_RING_F_EVENT_IDX, &[&driver]);
        Self {
            board,
            driver,
            file,
            requests: 0,
            open: HashMap::new(),
            outcomes: Vec::new(),
        }
    }

    fn submit(&mut self, kind: u32, sector: u64) {
        let place = PLACES + PLACE * self.requests;
        let memory = &self.board.memory;
        memory.write_obj(kind, GuestAddress(place)).unwrap();
        memory.write_obj(sector, GuestAddress(place + 8)).unwrap();
        let content = noise(SECTOR, self.requests);
        let data = match kind {
            WRITE => {
                memory
                    .write_slice(&content, GuestAddress(place + DATA))
                    .unwrap();
                Buffer::Readable(place + DATA, SECTOR as u32)
            }
            _ => Buffer::Writable(place + DATA, SECTOR as u32),
        };
        let chain = [
            Buffer::Readable(place, 16),
            data,
            Buffer::Writable(place + STATUS, 1),
        ];
        if let Some(head) = self.driver.add(&chain) {
            self.open.insert(head, self.requests);
            self.requests += 1;
        }
    }

    fn kick(&mut self) {
        if self.driver.wants_kick() {
            self.board.write(register::QUEUE_NOTIFY, 0);
        }
    }

    /// Looks at the used ring if there was an interrupt, and only then.
    fn take(&mut self) {
        if self.board.probe.interrupts() == 0 {
            return;
        }
        for (head, _) in self.driver.used() {
            let request = self.open.remove(&head).expect("answered twice");
            let place = PLACES + PLACE * request;
            let status = self
                .board
                .memory
                .read_obj(GuestAddress(place + STATUS))
                .unwrap();
            let mut sector = vec![0; SECTOR];
            self.board
                .memory
                .read_slice(&mut sector, GuestAddress(place + DATA))
                .unwrap();
            self.outcomes.push((request, status, sector));
        }
    }

    /// Goes on in another process. Of what the machine had under way between driver and device, only what is in
    /// memory survives: notifications and interrupts are lost.
    fn live_again(&mut self) {
        let _ = self.driver.wants_kick();
        self.board = self.board.restored(over(&self.file)).unwrap();
        self.board.resume();
    }

    /// Nothing is left to do.
    fn finish(mut self) -> End {
        self.kick();
        self.take();
        assert_eq!(self.open, HashMap::new(), "requests were never answered");
        self.outcomes.sort();
        let mut disk = vec![0; SECTORS as usize * SECTOR];
        self.file.read_exact_at(&mut disk, 0).unwrap();
        End {
            outcomes: self.outcomes,
            disk,
        }
    }
}

#[test]
fn requests_that_wait_are_served_in_the_new_life() {
    let mut guest = Guest::new();
    (0..20).for_each(|sector| guest.submit(READ, sector));
    guest.live_again();
    guest.take();
    assert_eq!(guest.outcomes.len(), 20);
    for (request, status, sector) in &guest.outcomes {
        let expected = &noise(SECTORS as usize * SECTOR, 9)[*request as usize * SECTOR..][..SECTOR];
        assert_eq!((*status, &sector[..]), (OK, expected));
    }
}

#[test]
fn answers_nobody_took_are_announced_and_not_repeated() {
    let mut guest = Guest::new();
    guest.submit(WRITE, 3);
    guest.kick();
    guest.live_again();
    assert!(guest.driver.used_idx() == 1);
    guest.take();
    assert_eq!(guest.outcomes.len(), 1);
}

#[test]
fn another_disk_in_the_slot_is_announced_once() {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let driver = Driver::new(&memory, 0x1000, 128);
    let mut empty = Board::new(&memory, disk(None));
    empty.start(1 << VIRTIO_RING_F_EVENT_IDX, &[&driver]);
    assert_eq!(empty.read(register::CONFIG), 0);
    let generation = empty.read(register::CONFIG_GENERATION);
    let mut board = empty.restored(disk(Some(disk_of(&[1; 4096])))).unwrap();
    assert_eq!(
        board.read(register::CONFIG),
        0,
        "shown before it is announced"
    );
    board.transport.announce();
    assert_eq!(board.probe.changes(), 1);
    assert_eq!(board.read(register::CONFIG), 8);
    assert_ne!(board.read(register::CONFIG_GENERATION), generation);
    // The same disk again is no news.
    let mut board = board.restored(disk(Some(disk_of(&[2; 4096])))).unwrap();
    board.transport.announce();
    assert_eq!(board.probe.changes(), 0);
}

#[test]
fn a_disk_that_no_driver_looked_at_yet_is_not_announced() {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let empty = Board::new(&memory, disk(None));
    let mut board = empty.restored(disk(Some(disk_of(&[1; 4096])))).unwrap();
    board.transport.announce();
    assert_eq!(board.probe.changes(), 0);
    assert_eq!(board.read(register::CONFIG), 8);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Read(u64),
    Write(u64),
    Kick,
    Take,
    LiveAgain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..SECTORS).prop_map(Step::Read),
        4 => (0..SECTORS).prop_map(Step::Write),
        2 => Just(Step::Kick),
        2 => Just(Step::Take),
        1 => Just(Step::LiveAgain),
    ];
    proptest::collection::vec(step, 0..300)
}

fn run(steps: &[Step], lives: Lives) -> End {
    let mut guest = Guest::new();
    for step in steps {
        match (step, lives) {
            (Step::Read(sector), _) => guest.submit(READ, *sector),
            (Step::Write(sector), _) => guest.submit(WRITE, *sector),
            (Step::Kick, _) => guest.kick(),
            (Step::Take, _) => guest.take(),
            (Step::LiveAgain, Lives::Many) => guest.live_again(),
            // What a new life does to the driver: all that waited is done, and said.
            (Step::LiveAgain, Lives::One) => guest.kick(),
        }
    }
    guest.finish()
}

#[derive(Debug, Clone, Copy)]
enum Lives {
    One,
    Many,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Every request has the outcome it would have had, and so has the disk, wherever the machine was saved.
    #[test]
    fn lives_between_requests_cannot_be_told_from_one_life(steps in steps()) {
        prop_assert!(run(&steps, Lives::One) == run(&steps, Lives::Many));
    }
}
