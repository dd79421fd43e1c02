//! Fills the driver's buffers with random bytes from the host.

use crate::GuestMemory;
use crate::virtio::buffers::Buffers;
use crate::virtio::doorbell::Doorbell;
use crate::virtio::mmio::RestoreError;
use crate::virtio::ring::{Ring, Taken};
use crate::virtio::{Activation, Interrupt, VirtioDevice};
use std::io::{self, Read};
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::QueueState;

const QUEUE_SIZES: [u16; 1] = [8];

/// The most bytes one request gets. A driver that wants more asks again.
const MAX_REQUEST: usize = 64 << 10;

/// Requests answered per turn.
const BUDGET: usize = 64;

const CHUNK: usize = 4096;

/// The entropy device. `E` is where the bytes come from; it must not block for long.
pub struct Rng<E> {
    entropy: E,
    doorbell: Box<dyn Doorbell>,
    active: Option<Active>,
}

struct Active {
    memory: GuestMemory,
    ring: Ring,
    interrupt: Arc<dyn Interrupt>,
}

impl<E: Read> Rng<E> {
    /// A device that hands out what it reads from `entropy`.
    pub fn new(entropy: E, doorbell: Box<dyn Doorbell>) -> Self {
        Self {
            entropy,
            doorbell,
            active: None,
        }
    }

    fn serve(&mut self) {
        let Some(Active {
            memory,
            ring,
            interrupt,
        }) = &mut self.active
        else {
            return;
        };
        let mut budget = BUDGET;
        ring.disarm(memory);
        loop {
            if budget == 0 {
                self.doorbell.ring();
                break;
            }
            budget -= 1;
            match ring.take(memory) {
                Some(Taken::Chain(chain)) => {
                    // Without entropy the request is answered empty and the driver tries again later.
                    let filled = fill(&mut self.entropy, &chain.writable).unwrap_or(0);
                    ring.answer(memory, chain.head, filled);
                }
                Some(Taken::Malformed(head)) => ring.answer(memory, head, 0),
                None if ring.rearm(memory) => {}
                None => break,
            }
        }
        if ring.wants_signal(memory) {
            interrupt.signal_used();
        }
    }
}

fn fill(entropy: &mut impl Read, buffers: &Buffers<'_>) -> io::Result<usize> {
    let mut chunk = [0; CHUNK];
    let mut filled = 0;
    for slice in buffers.slices() {
        let mut start = 0;
        while start < slice.len() && filled < MAX_REQUEST {
            let len = CHUNK.min(slice.len() - start).min(MAX_REQUEST - filled);
            entropy.read_exact(&mut chunk[..len])?;
            let Ok(target) = slice.subslice(start, len) else {
                return Ok(filled);
            };
            target.copy_from(&chunk[..len]);
            start += len;
            filled += len;
        }
    }
    Ok(filled)
}

impl<E: Read + Send> VirtioDevice for Rng<E> {
    type State = ();
    const STATE_VERSION: u16 = 1;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_RING_F_EVENT_IDX
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
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

    /// Nothing: the bytes come from the host.
    fn save(&self) {}

    fn restore(&mut self, (): &(), activation: Option<Activation>) -> Result<(), RestoreError> {
        if let Some(activation) = activation {
            self.activate(activation);
        }
        Ok(())
    }
}
