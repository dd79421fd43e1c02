//! The balloon: takes reports off the queue and passes on what they are about.

use crate::GuestMemory;
use crate::virtio::doorbell::Doorbell;
use crate::virtio::mmio::RestoreError;
use crate::virtio::ring::{Report, Ring};
use crate::virtio::{Activation, Interrupt, VirtioDevice};
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::QueueState;
use vm_memory::{Address, GuestAddress};

/// Inflate, deflate, reporting. The specification numbers reporting 4, behind two queues that need features of their
/// own; over MMIO, Linux counts only the queues that are there. Linux reports up to 32 ranges at a time, and no more
/// until they are answered.
const QUEUE_SIZES: [u16; 3] = [8, 8, 32];

/// VIRTIO_BALLOON_F_PAGE_REPORTING
const F_REPORTING: u64 = 1 << 5;

/// What the guest may report: pages of 4 KiB (virtio 1.2, section 5.5.6).
const PAGE_SIZE: u64 = 4096;

/// Chains answered, and bytes given back, per turn. Linux reports blocks of 2 or 4 MiB.
const BUDGET_CHAINS: usize = 64;
const BUDGET_BYTES: u64 = 256 << 20;

/// Takes memory back from a guest that does not use it.
pub trait Reclaim: Send {
    /// The guest does not use these bytes: whole pages, all in guest memory. What they hold afterwards is either what
    /// they held or anything of the guest's own past, zero included. The guest may use them again any time, without
    /// a word.
    fn release(&self, address: GuestAddress, bytes: u64);
}

/// The balloon device. `R` takes the pages.
pub struct Balloon<R> {
    reclaim: R,
    doorbell: Box<dyn Doorbell>,
    active: Option<Active>,
}

struct Active {
    memory: GuestMemory,
    rings: [Ring; QUEUE_SIZES.len()],
    interrupt: Arc<dyn Interrupt>,
}

impl Active {
    fn new(activation: Activation) -> Option<Self> {
        let rings: Vec<Ring> = activation.queues.into_iter().map(Ring::new).collect();
        Some(Self {
            memory: activation.memory,
            rings: rings.try_into().ok()?,
            interrupt: activation.interrupt,
        })
    }
}

impl<R: Reclaim> Balloon<R> {
    /// A balloon that gives what it gets to `reclaim`.
    pub fn new(reclaim: R, doorbell: Box<dyn Doorbell>) -> Self {
        Self {
            reclaim,
            doorbell,
            active: None,
        }
    }

    /// Answers what is in queue `index`. Only reports have consequences: nobody asked for pages to be put into the
    /// balloon, so whatever a driver says about those changes nothing.
    fn serve(&mut self, index: usize) {
        let Some(Active {
            memory,
            rings,
            interrupt,
        }) = &mut self.active
        else {
            return;
        };
        let is_report = index + 1 == rings.len();
        let Some(ring) = rings.get_mut(index) else {
            return;
        };
        let (mut chains, mut bytes) = (0, 0);
        ring.disarm(memory);
        loop {
            if chains == BUDGET_CHAINS || bytes >= BUDGET_BYTES {
                self.doorbell.ring();
                break;
            }
            chains += 1;
            match ring.take_report(memory) {
                Some(Report { head, ranges }) => {
                    for (address, length) in ranges.iter().filter(|_| is_report) {
                        bytes += release(&self.reclaim, *address, *length);
                    }
                    ring.answer(memory, head, 0);
                }
                None if ring.rearm(memory) => {}
                None => break,
            }
        }
        if ring.wants_signal(memory) {
            interrupt.signal_used();
        }
    }
}

/// Gives the whole pages of a range back; returns how many bytes they have.
fn release(reclaim: &impl Reclaim, address: GuestAddress, length: u64) -> u64 {
    // The range was found in guest memory, so its end is an address.
    let start = address.raw_value().next_multiple_of(PAGE_SIZE);
    let end = (address.raw_value() + length) / PAGE_SIZE * PAGE_SIZE;
    let bytes = end.saturating_sub(start);
    if bytes > 0 {
        reclaim.release(GuestAddress(start), bytes);
    }
    bytes
}

impl<R: Reclaim> VirtioDevice for Balloon<R> {
    type State = ();
    const STATE_VERSION: u16 = 1;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_RING_F_EVENT_IDX | F_REPORTING
    }

    /// `struct virtio_balloon_config` (virtio 1.2, section 5.5.4): no pages wanted, none had. The driver's writes to
    /// it are ignored, as what it has is what is wanted.
    fn config(&self) -> Vec<u8> {
        vec![0; 8]
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Active::new(activation);
    }

    fn notify(&mut self, index: u16) {
        self.serve(index.into());
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn queues(&self) -> Vec<QueueState> {
        let active = self.active.iter();
        active
            .flat_map(|active| active.rings.each_ref().map(Ring::state))
            .collect()
    }

    /// Nothing: pages are given back when they are reported, and nobody keeps a list.
    fn save(&self) {}

    fn restore(&mut self, (): &(), activation: Option<Activation>) -> Result<(), RestoreError> {
        self.active = activation.and_then(Active::new);
        Ok(())
    }
}
