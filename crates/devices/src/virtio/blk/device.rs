//! The block device: takes requests off the queue and answers them.

use super::backend::{Backend, SECTOR_SIZE};
use super::failure::{Failure, Observer, Operation};
use super::request::{Kind, MAX_RANGES, Range, Request};
use crate::GuestMemory;
use crate::virtio::buffers::Buffers;
use crate::virtio::doorbell::Doorbell;
use crate::virtio::mmio::RestoreError;
use crate::virtio::ring::{Chain, Ring, Taken};
use crate::virtio::{Activation, Interrupt, VirtioDevice};
use std::io;
use std::sync::Arc;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueState;

/// Requests are served one after the other, so a longer queue would only cost the guest memory.
const QUEUE_SIZES: [u16; 1] = [128];

/// A chain must not be longer than its queue (virtio 1.2, section 2.7.5.2); header and status take two.
const SEGMENTS_MAX: u32 = 126;

/// The most bytes one request may move. Linux asks for 1.25 MiB at a time unless told otherwise.
const MAX_REQUEST: usize = 64 << 20;

/// How much a discard or write-zeroes request may cover: 1 GiB.
const MAX_RANGE_SECTORS: u32 = 1 << 21;

/// Discarding less than a page of the host's file system gives nothing back.
const DISCARD_ALIGNMENT_SECTORS: u32 = 8;

/// Requests and bytes served per turn.
const BUDGET_REQUESTS: usize = 256;
const BUDGET_BYTES: usize = 8 << 20;

/// Whether the guest may write to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It may not: the device says so, and refuses those who do not listen.
    ReadOnly,
    /// It may.
    ReadWrite,
}

/// A disk slot. Without a backend its capacity is 0.
pub struct Block<B> {
    backend: Option<B>,
    access: Access,
    id: [u8; VIRTIO_BLK_ID_BYTES as usize],
    doorbell: Box<dyn Doorbell>,
    observer: Observer,
    active: Option<Active>,
}

struct Active {
    memory: GuestMemory,
    ring: Ring,
    interrupt: Arc<dyn Interrupt>,
}

impl<B: Backend> Block<B> {
    /// An empty slot. The first 20 bytes of `id` are what the guest finds as the disk's serial number.
    pub fn new(access: Access, id: &str, doorbell: Box<dyn Doorbell>, observer: Observer) -> Self {
        let mut bytes = [0; VIRTIO_BLK_ID_BYTES as usize];
        bytes
            .iter_mut()
            .zip(id.bytes())
            .for_each(|(to, from)| *to = from);
        Self {
            backend: None,
            access,
            id: bytes,
            doorbell,
            observer,
            active: None,
        }
    }

    /// Puts another disk into the slot and returns the one that was there. If the driver is at work it must
    /// hear of the new capacity: call the transport's `config_changed` next.
    pub fn set_backend(&mut self, backend: Option<B>) -> Option<B> {
        std::mem::replace(&mut self.backend, backend)
    }

    /// The disk in the slot.
    pub const fn backend(&self) -> Option<&B> {
        self.backend.as_ref()
    }

    fn capacity_sectors(&self) -> u64 {
        self.backend
            .as_ref()
            .map_or(0, |backend| backend.size() / SECTOR_SIZE)
    }

    fn serve(&mut self) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        let (mut requests, mut bytes) = (0, 0);
        active.ring.disarm(&active.memory);
        loop {
            if requests == BUDGET_REQUESTS || bytes >= BUDGET_BYTES {
                self.doorbell.ring();
                break;
            }
            requests += 1;
            match active.ring.take(&active.memory) {
                Some(Taken::Chain(chain)) => {
                    bytes += chain.readable.len() + chain.writable.len();
                    let (head, written) = self.answer(chain);
                    active.ring.answer(&active.memory, head, written);
                }
                Some(Taken::Malformed(head)) => active.ring.answer(&active.memory, head, 0),
                None if active.ring.rearm(&active.memory) => {}
                None => break,
            }
        }
        if active.ring.wants_signal(&active.memory) {
            active.interrupt.signal_used();
        }
        self.active = Some(active);
    }

    /// Does what a chain asks for; returns its head and how many bytes were written to it.
    fn answer(&mut self, chain: Chain<'_>) -> (u16, usize) {
        let writable = chain.writable.len();
        let Some(request) = Request::parse(chain.readable, chain.writable) else {
            return (chain.head, 0);
        };
        let status = match self.execute(request.kind) {
            Ok(()) => VIRTIO_BLK_S_OK,
            Err(Refusal::Unsupported) => VIRTIO_BLK_S_UNSUPP,
            Err(Refusal::Invalid) => VIRTIO_BLK_S_IOERR,
            Err(Refusal::Failed(failure)) => {
                (self.observer)(failure);
                VIRTIO_BLK_S_IOERR
            }
        };
        request.status.copy_from(&[status as u8]);
        (chain.head, writable)
    }

    fn execute(&mut self, kind: Kind<'_>) -> Result<(), Refusal> {
        match kind {
            Kind::Read(sector, buffers) => {
                let (backend, offset) = self.locate(sector, &buffers)?;
                backend
                    .read_at(buffers.slices(), offset)
                    .map_err(|source| Refusal::failed(Operation::Read, offset, source))
            }
            Kind::Write(sector, buffers) => {
                self.check_writable()?;
                let (backend, offset) = self.locate(sector, &buffers)?;
                backend
                    .write_at(buffers.slices(), offset)
                    .map_err(|source| Refusal::failed(Operation::Write, offset, source))
            }
            Kind::Flush => self.flush(),
            Kind::GetId(buffers) => {
                buffers.copy_from(&self.id);
                Ok(())
            }
            Kind::Discard(ranges) => ranges
                .into_iter()
                .try_for_each(|range| self.give_back(range, B::discard)),
            Kind::WriteZeroes(ranges) => ranges
                .into_iter()
                .try_for_each(|range| self.give_back(range, B::punch_hole)),
            Kind::Malformed => Err(Refusal::Invalid),
            Kind::Unknown => Err(Refusal::Unsupported),
        }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        match (&mut self.backend, self.access) {
            (Some(backend), Access::ReadWrite) => backend
                .flush()
                .map_err(|source| Refusal::failed(Operation::Flush, 0, source)),
            _ => Ok(()),
        }
    }

    /// A disk made of files has no space of its own to keep, so zeroing may always give it back. Where the
    /// host's file system cannot, the driver is told so and writes zeros instead.
    fn give_back(
        &mut self,
        range: Range,
        how: impl Fn(&mut B, u64, u64) -> io::Result<()>,
    ) -> Result<(), Refusal> {
        self.check_writable()?;
        if range.count > MAX_RANGE_SECTORS {
            return Err(Refusal::Invalid);
        }
        let len = u64::from(range.count) * SECTOR_SIZE;
        let (backend, offset) = self.locate_bytes(range.sector, len)?;
        match how(backend, offset, len) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(Refusal::Unsupported),
            result => {
                result.map_err(|source| Refusal::failed(Operation::PunchHole, offset, source))
            }
        }
    }

    const fn check_writable(&self) -> Result<(), Refusal> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Refusal::Invalid),
        }
    }

    fn locate(&mut self, sector: u64, buffers: &Buffers<'_>) -> Result<(&mut B, u64), Refusal> {
        if buffers.len() > MAX_REQUEST {
            return Err(Refusal::Invalid);
        }
        self.locate_bytes(sector, buffers.len() as u64)
    }

    /// The backend and the byte offset, if `len` bytes from `sector` on are whole sectors of the disk.
    fn locate_bytes(&mut self, sector: u64, len: u64) -> Result<(&mut B, u64), Refusal> {
        let sectors = self.capacity_sectors();
        let inside = sector
            .checked_add(len / SECTOR_SIZE)
            .is_some_and(|end| end <= sectors);
        match &mut self.backend {
            Some(backend) if inside && len.is_multiple_of(SECTOR_SIZE) => {
                Ok((backend, sector * SECTOR_SIZE))
            }
            _ => Err(Refusal::Invalid),
        }
    }
}

/// Why a request was not carried out.
enum Refusal {
    Unsupported,
    Invalid,
    Failed(Failure),
}

impl Refusal {
    fn failed(operation: Operation, offset: u64, source: io::Error) -> Self {
        Self::Failed(Failure {
            operation,
            offset,
            source,
        })
    }
}

impl<B: Backend> VirtioDevice for Block<B> {
    type State = ();
    const STATE_VERSION: u16 = 1;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        let access = match self.access {
            Access::ReadOnly => 1 << VIRTIO_BLK_F_RO,
            Access::ReadWrite => {
                1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES
            }
        };
        1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | 1 << VIRTIO_BLK_F_SEG_MAX
            | access
    }

    /// `struct virtio_blk_config` (virtio 1.2, section 5.2.4).
    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 60];
        let mut put = |offset: usize, bytes: &[u8]| {
            config[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &self.capacity_sectors().to_le_bytes());
        put(12, &SEGMENTS_MAX.to_le_bytes());
        if self.access == Access::ReadWrite {
            let ranges = MAX_RANGES as u32;
            put(36, &MAX_RANGE_SECTORS.to_le_bytes());
            put(40, &ranges.to_le_bytes());
            put(44, &DISCARD_ALIGNMENT_SECTORS.to_le_bytes());
            put(48, &MAX_RANGE_SECTORS.to_le_bytes());
            put(52, &ranges.to_le_bytes());
            put(56, &[1]);
        }
        config
    }

    fn activate(&mut self, activation: Activation) {
        let Activation {
            memory,
            queues,
            interrupt,
            features: _,
        } = activation;
        self.active = queues.into_iter().next().map(|queue| Active {
            memory,
            ring: Ring::new(queue),
            interrupt,
        });
    }

    fn notify(&mut self, _index: u16) {
        self.serve();
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queues(&self) -> Vec<QueueState> {
        let active = self.active.iter();
        active.map(|active| active.ring.state()).collect()
    }

    /// Nothing: requests are served at once, and the disk comes from the host.
    fn save(&self) {}

    fn restore(&mut self, (): &(), activation: Option<Activation>) -> Result<(), RestoreError> {
        if let Some(activation) = activation {
            self.activate(activation);
        }
        Ok(())
    }
}
