//! A layered disk against a model that is an array of bytes.

use super::backend::{Backend, SECTOR_SIZE};
use super::disk::Piece;
use super::layered::LayeredDisk;
use crate::virtio::buffers::{Buffers, Slice};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use vm_memory::{MmapRegion, VolatileMemory};

const BLOCK: u64 = 4096;
/// Its last block is half of one.
const BYTES: u64 = 40 * BLOCK + 2048;

#[derive(Debug, Clone)]
enum Step {
    Write {
        at: u64,
        len: u64,
        byte: u8,
    },
    Zero {
        at: u64,
        len: u64,
    },
    Discard {
        at: u64,
        len: u64,
    },
    Read {
        at: u64,
        len: u64,
    },
    /// What there is becomes the lower layers of another disk.
    Layer,
    /// The files are opened anew.
    Reopen,
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..BYTES / SECTOR_SIZE, 0_u64..60).prop_map(|(first, count)| {
        let count = count.min(BYTES / SECTOR_SIZE - first);
        (first * SECTOR_SIZE, count * SECTOR_SIZE)
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (range(), 1_u8..).prop_map(|((at, len), byte)| Step::Write { at, len, byte }),
        2 => range().prop_map(|(at, len)| Step::Zero { at, len }),
        1 => range().prop_map(|(at, len)| Step::Discard { at, len }),
        2 => range().prop_map(|(at, len)| Step::Read { at, len }),
        1 => Just(Step::Layer),
        1 => Just(Step::Reopen),
    ]
}

fn empty() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(BYTES).unwrap();
    file
}

struct Subject {
    files: Vec<File>,
    disk: LayeredDisk,
    memory: MmapRegion,
}

impl Subject {
    fn of(files: Vec<File>) -> Self {
        Self {
            disk: open(&files),
            files,
            memory: MmapRegion::new(BYTES as usize).unwrap(),
        }
    }

    /// Guest memory of this length in two pieces, whose border is in no particular place.
    fn buffers(&self, len: u64) -> Vec<Slice<'_>> {
        let len = len as usize;
        let mut buffers = Buffers::default();
        buffers.push(self.memory.get_slice(0, len / 3).unwrap());
        buffers.push(self.memory.get_slice(len / 3, len - len / 3).unwrap());
        buffers.slices().to_vec()
    }

    fn read(&mut self, at: u64, len: u64) -> Vec<u8> {
        let memory = self.memory.get_slice(0, len as usize).unwrap();
        memory.copy_from(&vec![0xee_u8; len as usize][..]);
        let mut buffers = Buffers::default();
        buffers.push(memory);
        self.disk.read_at(buffers.slices(), at).unwrap();
        let mut read = vec![0; len as usize];
        buffers.copy_to(&mut read);
        read
    }
}

fn open(files: &[File]) -> LayeredDisk {
    let layer = |file: &File| Piece {
        file: file.try_clone().unwrap(),
        len: BYTES,
    };
    LayeredDisk::new(files.iter().map(layer)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_read_is_what_was_written_and_lower_layers_stay(
        below in prop::collection::vec((0..BYTES / BLOCK, 1_u8..), 0..30),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let base = empty();
        // What a discard leaves is anything: the model does not know it.
        let mut model = vec![Some(0_u8); BYTES as usize];
        for (block, byte) in below {
            base.write_all_at(&[byte; BLOCK as usize], block * BLOCK).unwrap();
            model[(block * BLOCK) as usize..][..BLOCK as usize].fill(Some(byte));
        }
        let mut subject = Subject::of(vec![base, empty()]);
        for step in steps {
            match step {
                Step::Write { at, len, byte } => {
                    subject.memory.get_slice(0, len as usize).unwrap().copy_from(&vec![byte; len as usize][..]);
                    let (memory, disk) = (&subject.memory, &mut subject.disk);
                    let slice = memory.get_slice(0, len as usize).unwrap();
                    disk.write_at(&[slice], at).unwrap();
                    model[at as usize..][..len as usize].fill(Some(byte));
                }
                Step::Zero { at, len } => {
                    subject.disk.punch_hole(at, len).unwrap();
                    model[at as usize..][..len as usize].fill(Some(0));
                }
                Step::Discard { at, len } => {
                    subject.disk.discard(at, len).unwrap();
                    model[at as usize..][..len as usize].fill(None);
                }
                Step::Read { at, len } => {
                    let read = subject.read(at, len);
                    for (offset, (found, expected)) in read.iter().zip(&model[at as usize..]).enumerate() {
                        prop_assert!(expected.is_none_or(|expected| expected == *found), "byte {} of {at}+{len}", offset);
                    }
                }
                Step::Layer => {
                    let mut files = std::mem::take(&mut subject.files);
                    files.push(empty());
                    subject = Subject::of(files);
                }
                Step::Reopen => subject.disk = open(&subject.files),
            }
        }
        let lower: Vec<_> = subject.files.iter().map(|file| {
            let mut bytes = vec![0; BYTES as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        }).collect();
        for disk in [false, true] {
            if disk {
                subject.disk = open(&subject.files);
            }
            let read = subject.read(0, BYTES);
            for (offset, (found, expected)) in read.iter().zip(&model).enumerate() {
                prop_assert!(expected.is_none_or(|expected| expected == *found), "byte {offset}");
            }
        }
        let len = BYTES;
        let slice = subject.memory.get_slice(0, len as usize).unwrap();
        slice.copy_from(&vec![0x5a_u8; len as usize][..]);
        subject.disk.write_at(&[slice], 0).unwrap();
        for (file, before) in subject.files.iter().zip(&lower).rev().skip(1) {
            let mut now = vec![0; BYTES as usize];
            file.read_exact_at(&mut now, 0).unwrap();
            prop_assert!(now == *before, "a lower layer was written");
        }
    }
}

#[test]
fn what_is_written_in_pieces_arrives_and_a_hole_gives_its_blocks_back() {
    let mut subject = Subject::of(vec![empty(), empty()]);
    let content: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8 | 1).collect();
    let memory = subject.memory.get_slice(0, BYTES as usize).unwrap();
    memory.copy_from(&content[..]);
    let buffers = Subject::buffers(&subject, BYTES);
    let mut disk = open(&subject.files);
    disk.write_at(&buffers, 0).unwrap();
    drop(buffers);
    subject.disk = open(&subject.files);
    assert!(subject.read(0, BYTES) == content);
    let top = subject.files[1].metadata().unwrap();
    assert!(top.blocks() * 512 >= BYTES);
    subject.disk.punch_hole(0, BYTES).unwrap();
    // Half a block at the end of a file is no hole.
    let left = subject.files[1].metadata().unwrap().blocks() * 512;
    assert!(left <= BLOCK, "{left}");
    subject.disk.flush().unwrap();
}

#[test]
fn layers_that_make_no_disk_are_named() {
    let refused = |lens: [u64; 2]| {
        let layer = |len| Piece { file: empty(), len };
        let refused = LayeredDisk::new(lens.map(layer)).unwrap_err();
        refused.to_string()
    };
    let short = refused([BYTES + SECTOR_SIZE, BYTES + SECTOR_SIZE]);
    assert!(short.contains("piece 0"), "{short}");
    let uneven = refused([BYTES, BYTES - SECTOR_SIZE]);
    assert!(uneven.contains("layer 1"), "{uneven}");
    let odd = refused([BYTES - 1, BYTES - 1]);
    assert!(odd.contains("piece 0"), "{odd}");
    assert!(LayeredDisk::<File>::new([]).is_err());
}
