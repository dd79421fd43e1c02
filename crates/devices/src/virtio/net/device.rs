//! The card: frames out of one queue, frames into the other.

use super::header::{Header, SIZE};
use crate::GuestMemory;
use crate::virtio::buffers::Buffers;
use crate::virtio::mmio::RestoreError;
use crate::virtio::ring::{Chain, Ring, Taken};
use crate::virtio::{Activation, Interrupt, VirtioDevice};
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::QueueState;

/// Receive, transmit. A segment of 64 KiB takes some 45 of the driver's buffers.
const QUEUE_SIZES: [u16; 2] = [256, 256];

/// Features (virtio 1.2, section 5.1.3): checksums may be left to the other side, segments too.
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MAC: u64 = 1 << 5;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const MRG_RXBUF: u64 = 1 << 15;

/// What an Ethernet frame can be with segments of 64 KiB. Longer ones are none.
const MAX_FRAME: usize = 65_550;

/// The network card.
pub struct Net {
    mac: [u8; 6],
    active: Option<Active>,
}

struct Active {
    memory: GuestMemory,
    rx: Ring,
    tx: Ring,
    /// Whether the driver puts frames together from several buffers.
    merges: bool,
    interrupt: Arc<dyn Interrupt>,
}

impl Active {
    fn new(activation: Activation) -> Option<Self> {
        let mut queues = activation.queues.into_iter().map(Ring::new);
        Some(Self {
            rx: queues.next()?,
            tx: queues.next()?,
            memory: activation.memory,
            merges: activation.features & MRG_RXBUF != 0,
            interrupt: activation.interrupt,
        })
    }
}

impl Net {
    /// A card with this address, as its driver finds it; the guest may take another one.
    pub const fn new(mac: [u8; 6]) -> Self {
        Self { mac, active: None }
    }

    /// Begins a turn: the driver need not say anything until it ends.
    pub fn begin(&mut self) {
        if let Some(Active { memory, rx, tx, .. }) = &mut self.active {
            rx.disarm(memory);
            tx.disarm(memory);
        }
    }

    /// Takes the next frame that the guest sent, in place of what `frame` holds. False if there is none: the driver
    /// says when there is.
    pub fn receive(&mut self, frame: &mut Vec<u8>) -> bool {
        let Some(Active { memory, tx, .. }) = &mut self.active else {
            return false;
        };
        loop {
            match tx.take(memory) {
                Some(Taken::Chain(Chain {
                    head, mut readable, ..
                })) => {
                    let content = readable.split_off(SIZE);
                    let fits = !content.is_empty() && content.len() <= MAX_FRAME;
                    if fits {
                        frame.resize(content.len(), 0);
                        content.copy_to(frame);
                    }
                    tx.answer(memory, head, 0);
                    if fits {
                        return true;
                    }
                }
                Some(Taken::Malformed(head)) => tx.answer(memory, head, 0),
                None if tx.rearm(memory) => tx.disarm(memory),
                None => return false,
            }
        }
    }

    /// Gives the guest a frame. False if there is no room: the driver says when there is. A guest without a driver
    /// gets nothing, and nothing waits for it.
    pub fn send(&mut self, header: Header, parts: [&[u8]; 2]) -> bool {
        let Some(Active {
            memory, rx, merges, ..
        }) = &mut self.active
        else {
            return true;
        };
        let needed = SIZE + parts[0].len() + parts[1].len();
        match collect(rx, memory, needed, *merges) {
            Room::Enough(chains) => {
                let lens = write(&chains, header, parts);
                rx.answer_together(memory, &lens);
                true
            }
            // A driver that offers what is of no use loses the frame.
            Room::Useless => true,
            Room::None => false,
        }
    }

    /// Ends a turn: the driver hears of what was done.
    pub fn finish(&mut self) {
        let Some(Active {
            memory,
            rx,
            tx,
            interrupt,
            ..
        }) = &mut self.active
        else {
            return;
        };
        let (received, sent) = (rx.wants_signal(memory), tx.wants_signal(memory));
        if received || sent {
            interrupt.signal_used();
        }
    }
}

enum Room<'m> {
    Enough(Vec<(u16, Buffers<'m>)>),
    Useless,
    None,
}

/// Takes as many chains as the bytes need; if there are not so many, none.
fn collect<'m>(rx: &mut Ring, memory: &'m GuestMemory, needed: usize, merges: bool) -> Room<'m> {
    let (mut chains, mut room) = (Vec::new(), 0);
    while room < needed {
        match rx.take(memory) {
            Some(Taken::Chain(Chain { head, writable, .. })) => {
                room += writable.len();
                // The header must not be split, and empty ones would be taken for ever.
                let useless = writable.len() < SIZE || (!merges && room < needed);
                chains.push((head, writable));
                if useless {
                    return drop_all(rx, memory, chains);
                }
            }
            Some(Taken::Malformed(head)) => {
                chains.push((head, Buffers::default()));
                return drop_all(rx, memory, chains);
            }
            // Asked before they are put back, the driver speaks up about the next one and not about those it has told.
            None if rx.rearm(memory) => rx.disarm(memory),
            None => {
                for _ in chains {
                    rx.put_back();
                }
                return Room::None;
            }
        }
    }
    Room::Enough(chains)
}

/// A driver that offers what is of no use gets it back empty, and the frame is lost.
fn drop_all<'m>(rx: &mut Ring, memory: &GuestMemory, chains: Vec<(u16, Buffers<'m>)>) -> Room<'m> {
    for (head, _) in chains {
        rx.answer(memory, head, 0);
    }
    Room::Useless
}

/// Fills the chains in order; returns how much went into each.
fn write(chains: &[(u16, Buffers<'_>)], header: Header, parts: [&[u8]; 2]) -> Vec<(u16, usize)> {
    let header = header.to_bytes(chains.len() as u16);
    let mut rest = [&header[..], parts[0], parts[1]];
    let mut lens = Vec::with_capacity(chains.len());
    for (head, buffers) in chains {
        let mut filled = 0;
        for slice in buffers.slices() {
            let mut at = 0;
            for part in &mut rest {
                let count = part.len().min(slice.len() - at);
                if let Ok(target) = slice.subslice(at, count) {
                    target.copy_from(&part[..count]);
                }
                *part = &part[count..];
                at += count;
            }
            filled += at;
        }
        lens.push((*head, filled));
    }
    lens
}

impl VirtioDevice for Net {
    type State = ();
    const STATE_VERSION: u16 = 1;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        let segments = GUEST_TSO4 | GUEST_TSO6 | HOST_TSO4 | HOST_TSO6;
        1 << VIRTIO_RING_F_EVENT_IDX
            | 1 << VIRTIO_RING_F_INDIRECT_DESC
            | CSUM
            | GUEST_CSUM
            | MAC
            | MRG_RXBUF
            | segments
    }

    /// `struct virtio_net_config` (virtio 1.2, section 5.1.4): the address; what else it has needs features that the
    /// card has not.
    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 12];
        config[..6].copy_from_slice(&self.mac);
        config
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Active::new(activation);
    }

    /// Nothing: who serves the card looks at both queues.
    fn notify(&mut self, _index: u16) {}

    fn reset(&mut self) {
        self.active = None;
    }

    fn queues(&self) -> Vec<QueueState> {
        let active = self.active.iter();
        active
            .flat_map(|active| [active.rx.state(), active.tx.state()])
            .collect()
    }

    /// Nothing: a frame is in the guest's memory or it is lost.
    fn save(&self) {}

    fn restore(&mut self, (): &(), activation: Option<Activation>) -> Result<(), RestoreError> {
        self.active = activation.and_then(Active::new);
        Ok(())
    }
}
