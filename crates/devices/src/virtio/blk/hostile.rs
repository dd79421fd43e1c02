//! A driver that asks for anything, and a disk that must be what its model is.

use super::guest::*;
use super::{Access, FileDisk, Piece};
use crate::virtio::VirtioDevice;
use crate::virtio::testing::{Buffer, Descriptor, Driver};
use proptest::prelude::*;

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
