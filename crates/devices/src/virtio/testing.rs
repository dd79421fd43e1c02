//! The driver's side of a split queue (virtio 1.2, section 2.7), in a few bytes of guest memory.
//!
//! It behaves as a real driver does: it notifies the device only when the device asked for it, so a device
//! that forgets to re-arm a queue hangs here, too.

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Guest memory that a queue of up to 256 entries takes.
pub const QUEUE_BYTES: u64 = 0x3000;

/// A buffer of guest memory as a driver offers it.
#[derive(Debug, Clone, Copy)]
pub enum Buffer {
    Readable(u64, u32),
    Writable(u64, u32),
}

impl Buffer {
    fn descriptor(self, flags: u16, next: u16) -> Descriptor {
        match self {
            Self::Readable(addr, len) => Descriptor {
                addr,
                len,
                flags,
                next,
            },
            Self::Writable(addr, len) => Descriptor {
                addr,
                len,
                flags: flags | WRITE,
                next,
            },
        }
    }
}

/// `struct virtq_desc`. Hostile drivers fill it with anything.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    pub addr: u64,
    pub len: u32,
    pub flags: u16,
    pub next: u16,
}

/// One queue, driven.
pub struct Driver {
    memory: GuestMemoryMmap<()>,
    base: u64,
    size: u16,
    free: Vec<u16>,
    chains: HashMap<u16, Vec<u16>>,
    avail_idx: u16,
    kicked_at: u16,
    last_used: u16,
}

impl Driver {
    /// A driver whose rings start at `base` and take [`QUEUE_BYTES`].
    pub fn new(memory: &GuestMemoryMmap<()>, base: u64, size: u16) -> Self {
        let driver = Self {
            memory: memory.clone(),
            base,
            size,
            free: (0..size).rev().collect(),
            chains: HashMap::new(),
            avail_idx: 0,
            kicked_at: 0,
            last_used: 0,
        };
        memory
            .write_slice(&[0; QUEUE_BYTES as usize], GuestAddress(base))
            .unwrap();
        driver
    }

    /// The queue as the transport would hand it to the device, with EVENT_IDX.
    pub fn queue(&self) -> Queue {
        let mut queue = Queue::new(self.size).unwrap();
        queue.set_size(self.size);
        queue
            .try_set_desc_table_address(GuestAddress(self.base))
            .unwrap();
        queue
            .try_set_avail_ring_address(GuestAddress(self.avail()))
            .unwrap();
        queue
            .try_set_used_ring_address(GuestAddress(self.used_ring()))
            .unwrap();
        queue.set_event_idx(true);
        queue.set_ready(true);
        assert!(queue.is_valid(&self.memory));
        queue
    }

    fn avail(&self) -> u64 {
        self.base + 0x1000
    }

    fn used_ring(&self) -> u64 {
        self.base + 0x2000
    }

    /// Descriptors that are not in use.
    pub fn room(&self) -> usize {
        self.free.len()
    }

    /// Makes a chain available, if there are enough descriptors; returns its head.
    pub fn add(&mut self, buffers: &[Buffer]) -> Option<u16> {
        let at = self.free.len().checked_sub(buffers.len())?;
        let mut indexes = self.free.split_off(at);
        indexes.reverse();
        for (i, buffer) in buffers.iter().enumerate() {
            let next = indexes.get(i + 1);
            let flags = if next.is_some() { NEXT } else { 0 };
            self.write_descriptor(
                indexes[i],
                buffer.descriptor(flags, next.copied().unwrap_or(0)),
            );
        }
        let head = indexes[0];
        self.chains.insert(head, indexes);
        self.offer(head);
        Some(head)
    }

    /// The same with a table of indirect descriptors at `table`.
    pub fn add_indirect(&mut self, table: u64, buffers: &[Buffer]) -> Option<u16> {
        for (i, buffer) in buffers.iter().enumerate() {
            let last = i + 1 == buffers.len();
            let descriptor = buffer.descriptor(if last { 0 } else { NEXT }, i as u16 + 1);
            self.write_descriptor_at(table + 16 * i as u64, descriptor);
        }
        let index = self.free.pop()?;
        let len = 16 * buffers.len() as u32;
        self.write_descriptor(
            index,
            Descriptor {
                addr: table,
                len,
                flags: INDIRECT,
                next: 0,
            },
        );
        self.chains.insert(index, vec![index]);
        self.offer(index);
        Some(index)
    }

    /// Puts any index into the available ring.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.avail_idx % self.size);
        self.store(self.avail() + 4 + 2 * slot, head);
        self.set_avail_idx(self.avail_idx.wrapping_add(1));
    }

    /// Claims any number of available chains.
    pub fn set_avail_idx(&mut self, idx: u16) {
        fence(Ordering::SeqCst);
        self.avail_idx = idx;
        self.store(self.avail() + 2, idx);
        fence(Ordering::SeqCst);
    }

    /// Fills any slot of the descriptor table.
    pub fn write_descriptor(&self, index: u16, descriptor: Descriptor) {
        self.write_descriptor_at(self.base + 16 * u64::from(index), descriptor);
    }

    fn write_descriptor_at(&self, addr: u64, descriptor: Descriptor) {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(descriptor.addr.to_le_bytes());
        bytes.extend(descriptor.len.to_le_bytes());
        bytes.extend(descriptor.flags.to_le_bytes());
        bytes.extend(descriptor.next.to_le_bytes());
        self.memory.write_slice(&bytes, GuestAddress(addr)).unwrap();
    }

    /// Whether the device wants to hear of what was added since the last call.
    pub fn wants_kick(&mut self) -> bool {
        let event = self.load(self.used_ring() + 4 + 8 * u64::from(self.size));
        let (new, old) = (
            self.avail_idx,
            std::mem::replace(&mut self.kicked_at, self.avail_idx),
        );
        new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
    }

    /// Takes back what the device used: head and length of each. Asks to be interrupted for the next.
    pub fn used(&mut self) -> Vec<(u16, u32)> {
        let idx = self.load(self.used_ring() + 2);
        let mut used = Vec::new();
        while self.last_used != idx {
            let slot = self.used_ring() + 4 + 8 * u64::from(self.last_used % self.size);
            let head: u32 = self.memory.read_obj(GuestAddress(slot)).unwrap();
            let len: u32 = self.memory.read_obj(GuestAddress(slot + 4)).unwrap();
            let head = u16::try_from(head).unwrap();
            // A chain the device was never given, or gave back already, has no entry.
            let indexes = self
                .chains
                .remove(&head)
                .expect("the device answered a chain twice");
            self.free.extend(indexes);
            used.push((head, len));
            self.last_used = self.last_used.wrapping_add(1);
        }
        self.store(self.avail() + 4 + 2 * u64::from(self.size), self.last_used);
        fence(Ordering::SeqCst);
        used
    }

    /// How many chains the device answered in all; for hostile drivers, who lost track.
    pub fn used_idx(&self) -> u16 {
        self.load(self.used_ring() + 2)
    }

    fn load(&self, addr: u64) -> u16 {
        self.memory.read_obj(GuestAddress(addr)).unwrap()
    }

    fn store(&self, addr: u64, value: u16) {
        self.memory.write_obj(value, GuestAddress(addr)).unwrap();
    }
}
