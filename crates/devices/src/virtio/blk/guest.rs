//! A machine with one disk, for tests.

use super::{Access, Backend, Block, Failure, FileDisk, Operation, Piece};
use crate::GuestMemory;
use crate::virtio::buffers::Slice;
use crate::virtio::probe::Probe;
use crate::virtio::testing::{Buffer, Driver};
use crate::virtio::{Activation, VirtioDevice};
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use vm_memory::{Bytes, GuestAddress};

pub const QUEUE: u64 = 0;
pub const HEADER: u64 = 0x1_0000;
pub const STATUS: u64 = 0x1_1000;
pub const TABLE: u64 = 0x1_2000;
pub const DATA: u64 = 0x10_0000;
pub const MEMORY: usize = 4 << 20;

pub const READ: u32 = 0;
pub const WRITE: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

pub const OK: u8 = 0;
pub const IO_ERROR: u8 = 1;
pub const UNSUPPORTED: u8 = 2;
pub const UNANSWERED: u8 = 0xee;

/// What the observer saw: the operation and the host's error number.
pub type Failures = Arc<Mutex<Vec<(Operation, Option<i32>)>>>;

pub struct Machine<B> {
    pub memory: GuestMemory,
    pub driver: Driver,
    pub device: Block<B>,
    pub probe: Probe,
    pub failures: Failures,
}

impl<B: Backend> Machine<B> {
    pub fn new(access: Access, backend: Option<B>) -> Self {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let driver = Driver::new(&memory, QUEUE, 128);
        let probe = Probe::default();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&failures);
        let observer = Box::new(move |failure: Failure| {
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

    pub fn put_header(&self, kind: u32, sector: u64) {
        self.memory.write_obj(kind, GuestAddress(HEADER)).unwrap();
        self.memory
            .write_obj(sector, GuestAddress(HEADER + 8))
            .unwrap();
        self.memory
            .write_obj(UNANSWERED, GuestAddress(STATUS))
            .unwrap();
    }

    /// One request; returns its status.
    pub fn request(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
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

    pub fn fill(&self, addr: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(addr)).unwrap();
    }

    pub fn look(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(addr))
            .unwrap();
        bytes
    }

    pub fn range(&self, sector: u64, count: u32, flags: u32) {
        self.memory.write_obj(sector, GuestAddress(DATA)).unwrap();
        self.memory
            .write_obj(count, GuestAddress(DATA + 8))
            .unwrap();
        self.memory
            .write_obj(flags, GuestAddress(DATA + 12))
            .unwrap();
    }
}

pub fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub fn noise(len: usize, seed: u64) -> Vec<u8> {
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

pub fn disk_of(content: &[u8]) -> FileDisk {
    FileDisk::new([Piece {
        file: file_of(content),
        len: content.len() as u64,
    }])
    .unwrap()
}

/// Fails every operation with one error.
pub struct Failing(pub i32);

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
