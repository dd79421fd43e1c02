//! The block device, seen by a driver.

use super::guest::*;
use super::{Access, Backend, DiskError, FileDisk, Operation, Piece};
use crate::virtio::VirtioDevice;
use crate::virtio::testing::Buffer;
use std::fs::File;

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
