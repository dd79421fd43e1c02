//! The block device, seen by a driver.

use super::{Access, Backend, Block, DiskError, FileDisk, Operation, Piece};
use crate::GuestMemory;
use crate::virtio::buffers::Slice;
use crate::virtio::probe::Probe;
use crate::virtio::testing::{Buffer, Descriptor, Driver};
use crate::virtio::{Activation, VirtioDevice};
use proptest::prelude::*;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use vm_memory::{Bytes, GuestAddress};

const QUEUE: u64 = 0;
const HEADER: u64 = 0x1_0000;
const STATUS: u64 = 0x1_1000;
const TABLE: u64 = 0x1_2000;
const DATA: u64 = 0x10_0000;
const MEMORY: usize = 4 << 20;

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;
const UNANSWERED: u8 = 0xee;

/// What the observer saw: the operation and the host's error number.
type Failures = Arc<Mutex<Vec<(Operation, Option<i32>)>>>;

struct Machine<B> {
    memory: GuestMemory,
    driver: Driver,
    device: Block<B>,
    probe: Probe,
    failures: Failures,
}

impl<B: Backend> Machine<B> {
    fn new(access: Access, backend: Option<B>) -> Self {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let driver = Driver::new(&memory, QUEUE, 128);
        let probe = Probe::default();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&failures);
        let observer = Box::new(move |failure: super::Failure| {
            seen.lock()
                .unwrap()
                .push((failure.operation, failure.source.raw_os_error()));
        });
        let mut device = Block::new(
            access,
            "a-name-of-more-than-twenty-bytes",
            Box::new(probe.clone()),
            observer,
        );
        device.set_backend(backend);
        device.activate(Activation {
            memory: memory.clone(),
            queues: vec![driver.queue()],
            interrupt: Arc::new(probe.clone()),
            features: device.features(),
        });
        Self {
            memory,
            driver,
            device,
            probe,
            failures,
        }
    }

    fn put_header(&self, kind: u32, sector: u64) {
        self.memory.write_obj(kind, GuestAddress(HEADER)).unwrap();
        self.memory
            .write_obj(sector, GuestAddress(HEADER + 8))
            .unwrap();
        self.memory
            .write_obj(UNANSWERED, GuestAddress(STATUS))
            .unwrap();
    }

    /// One request; returns its status.
    fn request(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
        self.put_header(kind, sector);
        let mut chain = vec![Buffer::Readable(HEADER, 16)];
        chain.extend(data);
        chain.push(Buffer::Writable(STATUS, 1));
        let head = self.driver.add(&chain).unwrap();
        self.device.notify(0);
        let used = self.driver.used();
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].0, head);
        self.memory.read_obj(GuestAddress(STATUS)).unwrap()
    }

    fn fill(&self, addr: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(addr)).unwrap();
    }

    fn look(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(addr))
            .unwrap();
        bytes
    }

    fn range(&self, sector: u64, count: u32, flags: u32) {
        self.memory.write_obj(sector, GuestAddress(DATA)).unwrap();
        self.memory
            .write_obj(count, GuestAddress(DATA + 8))
            .unwrap();
        self.memory
            .write_obj(flags, GuestAddress(DATA + 12))
            .unwrap();
    }
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .collect()
}

fn disk_of(content: &[u8]) -> FileDisk {
    FileDisk::new([Piece {
        file: file_of(content),
        len: content.len() as u64,
    }])
    .unwrap()
}

/// Fails every operation with one error.
struct Failing(i32);

impl Backend for Failing {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn read_at(&mut self, _: &[Slice<'_>], _: u64) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.0))
    }
    fn write_at(&mut self, _: &[Slice<'_>], _: u64) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.0))
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.0))
    }
    fn punch_hole(&mut self, _: u64, _: u64) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(self.0))
    }
}

#[test]
fn what_was_written_is_read_back_from_any_number_of_buffers() {
    let mut machine = Machine::new(Access::ReadWrite, Some(disk_of(&[0; 64 << 10])));
    let content = noise(8192, 1);
    machine.fill(DATA, &content);
    let pieces = [
        Buffer::Readable(DATA, 512),
        Buffer::Readable(DATA + 512, 7000),
        Buffer::Readable(DATA + 7512, 680),
    ];
    assert_eq!(machine.request(WRITE, 3, &pieces), OK);
    let target = DATA + 0x10_0000;
    let pieces = [
        Buffer::Writable(target, 1),
        Buffer::Writable(target + 1, 8190),
        Buffer::Writable(target + 8191, 1),
    ];
    assert_eq!(machine.request(READ, 3, &pieces), OK);
    assert_eq!(machine.look(target, 8192), content);
    assert_eq!(machine.request(FLUSH, 0, &[]), OK);
    assert!(machine.failures.lock().unwrap().is_empty());
}

#[test]
fn a_table_of_indirect_descriptors_is_one_request() {
    let content = noise(126 * 512, 2);
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&content)));
    machine.put_header(READ, 0);
    let mut chain = vec![Buffer::Readable(HEADER, 16)];
    chain.extend((0..126).map(|i| Buffer::Writable(DATA + 1024 * i, 512)));
    chain.push(Buffer::Writable(STATUS, 1));
    machine.driver.add_indirect(TABLE, &chain).unwrap();
    machine.device.notify(0);
    assert_eq!(machine.driver.used(), [(0, 126 * 512 + 1)]);
    assert_eq!(machine.look(STATUS, 1), [OK]);
    for (i, sector) in content.chunks(512).enumerate() {
        assert_eq!(machine.look(DATA + 1024 * i as u64, 512), sector);
    }
}

#[test]
fn a_header_may_be_split_anywhere() {
    let content = noise(512, 3);
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&content)));
    machine.put_header(READ, 0);
    let chain = [
        Buffer::Readable(HEADER, 3),
        Buffer::Readable(HEADER + 3, 13),
        // Data and status in one descriptor.
        Buffer::Writable(DATA, 513),
    ];
    machine.driver.add(&chain).unwrap();
    machine.device.notify(0);
    machine.driver.used();
    assert_eq!(machine.look(DATA, 512), content);
    assert_eq!(machine.look(DATA + 512, 1), [OK]);
}

#[test]
fn the_disk_ends_where_it_says() {
    let mut machine = Machine::new(Access::ReadWrite, Some(disk_of(&[1; 2048])));
    let data = [Buffer::Writable(DATA, 1024)];
    assert_eq!(machine.request(READ, 2, &data), OK);
    assert_eq!(machine.request(READ, 3, &data), IO_ERROR);
    assert_eq!(machine.request(READ, u64::MAX, &data), IO_ERROR);
    assert_eq!(machine.request(READ, u64::MAX / 512 + 1, &data), IO_ERROR);
    assert_eq!(
        machine.request(WRITE, 4, &[Buffer::Readable(DATA, 512)]),
        IO_ERROR
    );
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 100)]),
        IO_ERROR
    );
}

#[test]
fn a_read_only_disk_refuses_writes_whatever_the_driver_thinks() {
    let content = noise(4096, 4);
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&content)));
    assert_ne!(machine.device.features() & (1 << 5), 0);
    assert_eq!(
        machine.request(WRITE, 0, &[Buffer::Readable(DATA, 512)]),
        IO_ERROR
    );
    machine.range(0, 8, 0);
    assert_eq!(
        machine.request(DISCARD, 0, &[Buffer::Readable(DATA, 16)]),
        IO_ERROR
    );
    assert_eq!(
        machine.request(WRITE_ZEROES, 0, &[Buffer::Readable(DATA, 16)]),
        IO_ERROR
    );
    assert_eq!(machine.request(FLUSH, 0, &[]), OK);
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 4096)]),
        OK
    );
    assert_eq!(machine.look(DATA, 4096), content);
}

#[test]
fn the_name_is_cut_to_twenty_bytes_and_unknown_requests_are_unsupported() {
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&[0; 512])));
    assert_eq!(
        machine.request(GET_ID, 0, &[Buffer::Writable(DATA, 20)]),
        OK
    );
    assert_eq!(machine.look(DATA, 20), b"a-name-of-more-than-");
    for kind in [2, 3, 5, 14, 0x8000_0000, u32::MAX] {
        assert_eq!(machine.request(kind, 0, &[]), UNSUPPORTED);
    }
}

#[test]
fn an_empty_slot_has_no_capacity_until_it_gets_a_disk() {
    let mut machine = Machine::<FileDisk>::new(Access::ReadOnly, None);
    assert_eq!(machine.device.config()[..8], [0; 8]);
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 512)]),
        IO_ERROR
    );
    assert_eq!(machine.request(FLUSH, 0, &[]), OK);
    let content = noise(1024, 5);
    assert!(
        machine
            .device
            .set_backend(Some(disk_of(&content)))
            .is_none()
    );
    assert_eq!(machine.device.config()[..8], 2u64.to_le_bytes());
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 1024)]),
        OK
    );
    assert_eq!(machine.look(DATA, 1024), content);
    assert!(machine.device.set_backend(None).is_some());
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 512)]),
        IO_ERROR
    );
}

#[test]
fn failures_of_the_host_reach_guest_and_vmm() {
    const ENOSPC: i32 = 28;
    let mut machine = Machine::new(Access::ReadWrite, Some(Failing(ENOSPC)));
    assert_eq!(
        machine.request(WRITE, 0, &[Buffer::Readable(DATA, 512)]),
        IO_ERROR
    );
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 512)]),
        IO_ERROR
    );
    assert_eq!(machine.request(FLUSH, 0, &[]), IO_ERROR);
    machine.range(0, 8, 0);
    assert_eq!(
        machine.request(DISCARD, 0, &[Buffer::Readable(DATA, 16)]),
        IO_ERROR
    );
    let seen = machine.failures.lock().unwrap().clone();
    let expected = [
        Operation::Write,
        Operation::Read,
        Operation::Flush,
        Operation::PunchHole,
    ];
    assert_eq!(seen, expected.map(|operation| (operation, Some(ENOSPC))));
}

#[test]
fn a_host_that_cannot_punch_holes_is_no_failure() {
    const EOPNOTSUPP: i32 = 95;
    let mut machine = Machine::new(Access::ReadWrite, Some(Failing(EOPNOTSUPP)));
    machine.range(0, 8, 0);
    assert_eq!(
        machine.request(DISCARD, 0, &[Buffer::Readable(DATA, 16)]),
        UNSUPPORTED
    );
    assert_eq!(
        machine.request(WRITE_ZEROES, 0, &[Buffer::Readable(DATA, 16)]),
        UNSUPPORTED
    );
    assert!(machine.failures.lock().unwrap().is_empty());
}

#[test]
fn discarded_space_goes_back_to_the_host_and_reads_as_zeros() {
    use std::os::unix::fs::MetadataExt;
    let file = file_of(&noise(1 << 20, 6));
    let watch = file.try_clone().unwrap();
    watch.sync_all().unwrap();
    let before = watch.metadata().unwrap().blocks();
    let disk = FileDisk::new([Piece { file, len: 1 << 20 }]).unwrap();
    let mut machine = Machine::new(Access::ReadWrite, Some(disk));
    machine.range(0, 1024, 0);
    assert_eq!(
        machine.request(DISCARD, 0, &[Buffer::Readable(DATA, 16)]),
        OK
    );
    machine.range(1024, 8, 1);
    assert_eq!(
        machine.request(WRITE_ZEROES, 0, &[Buffer::Readable(DATA, 16)]),
        OK
    );
    assert_eq!(watch.metadata().unwrap().len(), 1 << 20);
    assert!(watch.metadata().unwrap().blocks() <= before - 1024);
    assert_eq!(
        machine.request(READ, 1024, &[Buffer::Writable(DATA, 8192)]),
        OK
    );
    let bytes = machine.look(DATA, 8192);
    assert_eq!(bytes[..4096], [0; 4096]);
    assert_eq!(
        bytes[4096..],
        noise(1 << 20, 6)[(1 << 19) + 4096..(1 << 19) + 8192]
    );
}

#[test]
fn ranges_that_make_no_sense_are_refused() {
    let mut machine = Machine::new(Access::ReadWrite, Some(disk_of(&[1; 4096])));
    let one = [Buffer::Readable(DATA, 16)];
    for (sector, count, flags) in [
        (8, 1, 0),
        (0, 9, 0),
        (u64::MAX, 2, 0),
        (0, u32::MAX, 0),
        (0, 1, 1),
        (0, 1, 2),
    ] {
        machine.range(sector, count, flags);
        assert_eq!(
            machine.request(DISCARD, 0, &one),
            IO_ERROR,
            "{sector} {count} {flags}"
        );
    }
    machine.range(0, 0, 0);
    assert_eq!(machine.request(DISCARD, 0, &one), OK);
    for len in [0, 15, 17, 33 * 16] {
        assert_eq!(
            machine.request(DISCARD, 0, &[Buffer::Readable(DATA, len)]),
            IO_ERROR,
            "{len}"
        );
    }
    assert_eq!(
        machine.request(READ, 0, &[Buffer::Writable(DATA, 4096)]),
        OK
    );
    assert_eq!(machine.look(DATA, 4096), [1; 4096]);
}

#[test]
fn a_batch_of_requests_is_one_interrupt() {
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&[0; 4096])));
    machine.put_header(READ, 0);
    for i in 0..32 {
        let data = Buffer::Writable(DATA + 512 * i, 512);
        machine
            .driver
            .add(&[
                Buffer::Readable(HEADER, 16),
                data,
                Buffer::Writable(STATUS, 1),
            ])
            .unwrap();
    }
    assert!(machine.driver.wants_kick());
    machine.device.notify(0);
    assert_eq!(machine.driver.used().len(), 32);
    assert_eq!(machine.probe.interrupts(), 1);
    machine.device.notify(0);
    assert_eq!(machine.probe.interrupts(), 0);
}

#[test]
fn a_turn_is_bounded_and_asks_for_another() {
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&noise(1 << 20, 7))));
    machine.put_header(READ, 0);
    for _ in 0..20 {
        let data = Buffer::Writable(DATA, 1 << 20);
        machine
            .driver
            .add(&[
                Buffer::Readable(HEADER, 16),
                data,
                Buffer::Writable(STATUS, 1),
            ])
            .unwrap();
    }
    let mut turns = 0;
    machine.device.notify(0);
    while machine.probe.rings() > 0 {
        turns += 1;
        machine.device.notify(0);
    }
    assert_eq!(turns, 2);
    assert_eq!(machine.driver.used().len(), 20);
}

#[test]
fn a_request_without_room_for_a_status_is_given_back() {
    let mut machine = Machine::new(Access::ReadWrite, Some(disk_of(&[0; 4096])));
    machine.put_header(WRITE, 0);
    machine
        .driver
        .add(&[Buffer::Readable(HEADER, 16), Buffer::Readable(DATA, 512)])
        .unwrap();
    // A header that is too short.
    machine
        .driver
        .add(&[Buffer::Readable(HEADER, 15), Buffer::Writable(STATUS, 1)])
        .unwrap();
    // Outside of memory, in whole and in part.
    machine
        .driver
        .add(&[
            Buffer::Readable(u64::MAX - 3, 16),
            Buffer::Writable(STATUS, 1),
        ])
        .unwrap();
    machine
        .driver
        .add(&[
            Buffer::Readable(HEADER, 16),
            Buffer::Writable(MEMORY as u64 - 1, 513),
        ])
        .unwrap();
    // Readable after writable.
    machine
        .driver
        .add(&[Buffer::Writable(STATUS, 1), Buffer::Readable(HEADER, 16)])
        .unwrap();
    machine.device.notify(0);
    let lens: Vec<u32> = machine
        .driver
        .used()
        .into_iter()
        .map(|(_, len)| len)
        .collect();
    assert_eq!(lens, [0, 1, 0, 0, 0]);
    assert_eq!(machine.look(STATUS, 1), [IO_ERROR]);
}

#[test]
fn a_disk_of_many_files_reads_as_their_concatenation() {
    let shares: Vec<usize> = (0..250).map(|i| 512 * (1 + (i * 7) % 5)).collect();
    let contents: Vec<Vec<u8>> = shares
        .iter()
        .enumerate()
        .map(|(i, &len)| noise(len, i as u64 + 10))
        .collect();
    // Each file is longer than what it contributes.
    let pieces = contents.iter().map(|content| Piece {
        file: file_of(&[content.as_slice(), &[0xff; 100]].concat()),
        len: content.len() as u64,
    });
    let disk = FileDisk::new(pieces).unwrap();
    let whole = contents.concat();
    let mut machine = Machine::new(Access::ReadOnly, Some(disk));
    assert_eq!(
        machine.device.config()[..8],
        (whole.len() as u64 / 512).to_le_bytes()
    );
    for (sector, count) in [
        (0, whole.len() / 512),
        (1, 1),
        (3, 17),
        (700, 40),
        (whole.len() / 512 - 1, 1),
    ] {
        let len = 512 * count;
        let data = [
            Buffer::Writable(DATA, 100),
            Buffer::Writable(DATA + 100, len as u32 - 100),
        ];
        assert_eq!(machine.request(READ, sector as u64, &data), OK);
        assert!(
            machine.look(DATA, len) == whole[512 * sector..512 * sector + len],
            "{sector} {count}"
        );
    }
}

#[test]
fn files_that_cannot_make_a_disk_are_named() {
    let piece = |len| Piece {
        file: file_of(&[0; 1024]),
        len,
    };
    let error = FileDisk::new([piece(512), piece(100)]).unwrap_err();
    assert!(
        matches!(error, DiskError::Unaligned { index: 1, len: 100 }),
        "{error}"
    );
    let error = FileDisk::new([piece(1024), piece(512), piece(1536)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "piece 2 contributes 1536 bytes but its file has only 1024"
    );
    assert_eq!(FileDisk::<File>::new([]).unwrap().size(), 0);
    assert_eq!(FileDisk::new([piece(0), piece(512)]).unwrap().size(), 512);
}

#[test]
fn a_file_cut_short_later_is_an_error_and_not_zeros() {
    let file = file_of(&[1; 4096]);
    let other = file.try_clone().unwrap();
    let disk = FileDisk::new([Piece { file, len: 4096 }]).unwrap();
    let mut machine = Machine::new(Access::ReadOnly, Some(disk));
    other.set_len(1024).unwrap();
    assert_eq!(
        machine.request(READ, 1, &[Buffer::Writable(DATA, 1024)]),
        IO_ERROR
    );
    assert_eq!(machine.request(READ, 1, &[Buffer::Writable(DATA, 512)]), OK);
    assert_eq!(
        machine.failures.lock().unwrap().as_slice(),
        [(Operation::Read, None)]
    );
}

#[test]
fn a_driver_that_loses_track_of_its_queue_is_left_alone() {
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&[0; 4096])));
    machine.driver.set_avail_idx(129);
    machine.device.notify(0);
    machine.device.notify(0);
    assert_eq!(machine.driver.used_idx(), 0);
}

#[test]
fn after_a_reset_nothing_is_taken_from_the_old_queue() {
    let mut machine = Machine::new(Access::ReadOnly, Some(disk_of(&[0; 4096])));
    machine.put_header(READ, 0);
    machine
        .driver
        .add(&[Buffer::Readable(HEADER, 16), Buffer::Writable(STATUS, 1)])
        .unwrap();
    machine.device.reset();
    machine.device.notify(0);
    assert_eq!(machine.driver.used_idx(), 0);
    assert_eq!(machine.look(STATUS, 1), [UNANSWERED]);
}

fn any_descriptor() -> impl Strategy<Value = Descriptor> {
    let addr = prop_oneof![
        Just(HEADER),
        Just(STATUS),
        Just(TABLE),
        0..MEMORY as u64 + 4096,
        any::<u64>(),
    ];
    let len = prop_oneof![
        Just(16u32),
        Just(1),
        Just(512),
        Just(513),
        0..100_000u32,
        any::<u32>()
    ];
    (addr, len, 0u16..8, 0u16..130).prop_map(|(addr, len, flags, next)| Descriptor {
        addr,
        len,
        flags,
        next,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever stands in the descriptor table and the rings: no panic, no hang, every head answered once.
    #[test]
    fn random_chains_are_answered_once(
        table in proptest::collection::vec(any_descriptor(), 1..128),
        indirect in proptest::collection::vec(any_descriptor(), 0..64),
        heads in proptest::collection::vec(0u16..140, 0..128),
        (kind, sector) in (prop_oneof![0u32..15, any::<u32>()], prop_oneof![0u64..80, any::<u64>()]),
    ) {
        let mut machine = Machine::new(Access::ReadWrite, Some(disk_of(&[0; 32 << 10])));
        machine.put_header(kind, sector);
        for (i, descriptor) in table.iter().enumerate() {
            machine.driver.write_descriptor(i as u16, *descriptor);
        }
        let scratch = Driver::new(&machine.memory, TABLE, 64);
        for (i, descriptor) in indirect.iter().enumerate() {
            scratch.write_descriptor(i as u16, *descriptor);
        }
        heads.iter().for_each(|&head| machine.driver.offer(head));
        machine.device.notify(0);
        while machine.probe.rings() > 0 {
            machine.device.notify(0);
        }
        // A chain may have written over the rings themselves; then there is nothing to count.
        let real = heads.iter().filter(|&&head| head < 128).count();
        let answered = usize::from(machine.driver.used_idx());
        let rings_intact = !table.iter().chain(&indirect).any(|d| d.flags & 2 != 0 && d.addr < 0x3000);
        if rings_intact {
            prop_assert_eq!(answered, real);
        }
    }

    /// A disk of files gives the bytes of the concatenation, however requests and files are cut.
    #[test]
    fn a_disk_is_its_model(
        shares in proptest::collection::vec(0usize..5, 1..12),
        requests in proptest::collection::vec((any::<bool>(), 0usize..60, 1usize..20, 1usize..600), 1..20),
    ) {
        let mut model = noise(512 * shares.iter().sum::<usize>(), 42);
        let mut start = 0;
        let pieces: Vec<_> = shares.iter().map(|share| {
            let len = 512 * share;
            let file = file_of(&model[start..start + len]);
            start += len;
            Piece { file, len: len as u64 }
        }).collect();
        let mut machine = Machine::new(Access::ReadWrite, Some(FileDisk::new(pieces).unwrap()));
        for (i, (write, sector, count, cut)) in requests.into_iter().enumerate() {
            let (from, to) = (512 * sector, 512 * (sector + count));
            let buffer = if write { Buffer::Readable } else { Buffer::Writable };
            let cut = cut.min(512 * count - 1);
            let data = [buffer(DATA, cut as u32), buffer(DATA + cut as u64, (512 * count - cut) as u32)];
            let content = noise(512 * count, i as u64);
            machine.fill(DATA, &content);
            let status = machine.request(if write { WRITE } else { READ }, sector as u64, &data);
            prop_assert_eq!(status, if to <= model.len() { OK } else { IO_ERROR });
            if status == OK && write {
                model[from..to].copy_from_slice(&content);
            } else if status == OK {
                prop_assert_eq!(machine.look(DATA, to - from), &model[from..to]);
            }
        }
    }
}
