//! The socket device: moves packets between the guest's queues and the muxer.

use super::connection::Readiness;
use super::muxer::{ConnectionId, Muxer};
use super::packet::{HEADER_LEN, Header};
use super::state::VsockState;
use super::stream::HostStream;
use crate::GuestMemory;
use crate::virtio::buffers::Buffers;
use crate::virtio::doorbell::Doorbell;
use crate::virtio::mmio::RestoreError;
use crate::virtio::ring::{Chain, Ring, Taken};
use crate::virtio::{Activation, Interrupt, VirtioDevice};
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::QueueState;

/// Receive, transmit, event. Linux 6.1 keeps the receive queue full of 4 KiB buffers, two descriptors each,
/// so its length is how much can be under way at once; it puts eight buffers into the event queue.
const QUEUE_SIZES: [u16; 3] = [256, 128, 8];

const RECEIVE_QUEUE: u16 = 0;
const TRANSMIT_QUEUE: u16 = 1;

/// Packets moved in each direction per turn.
const BUDGET: usize = 256;

/// The socket device. `S` is the host's end of a connection.
pub struct Vsock<S> {
    guest_cid: u64,
    muxer: Muxer<S>,
    doorbell: Box<dyn Doorbell>,
    active: Option<Active>,
}

struct Active {
    memory: GuestMemory,
    /// The guest's receive queue: we send.
    rx: Ring,
    /// The guest's transmit queue: we receive.
    tx: Ring,
    /// The guest's event queue: nothing ever happens in it.
    events: Ring,
    interrupt: Arc<dyn Interrupt>,
}

/// Whether a turn ended because there was nothing left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Finished,
    OutOfBudget,
}

impl<S: HostStream> Vsock<S> {
    /// A device for the guest with context id `guest_cid`.
    pub fn new(guest_cid: u64, doorbell: Box<dyn Doorbell>) -> Self {
        Self {
            guest_cid,
            muxer: Muxer::new(guest_cid),
            doorbell,
            active: None,
        }
    }

    /// Connects a stream to a port of the guest. What the stream has to say waits in it until the guest
    /// accepts; if the guest refuses, the stream is shut down and dropped.
    ///
    /// The VMM watches the stream from now on, edge-triggered, for reading and writing, and passes what it
    /// learns to [`Vsock::stream_ready`]. The device closes the stream when the connection is over, which
    /// ends the watching; an event that comes late is ignored. Call [`Vsock::pump`] when the batch is done.
    pub fn connect(&mut self, stream: S, guest_port: u32) -> ConnectionId {
        self.muxer.connect(stream, guest_port)
    }

    /// The event loop saw something on a stream. Call [`Vsock::pump`] when the batch is done.
    pub fn stream_ready(&mut self, id: ConnectionId, readiness: Readiness) {
        self.muxer.stream_ready(id, readiness);
    }

    /// Host ports the guest tried to connect to since the last call. All were refused.
    pub fn take_refused(&mut self) -> Vec<u32> {
        self.muxer.take_refused()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.muxer.connections()
    }

    /// Sends what there is to send, as far as the guest has room, and interrupts it at most once.
    pub fn pump(&mut self) {
        let Some(active) = &mut self.active else {
            return;
        };
        if send(&mut self.muxer, active) == Turn::OutOfBudget {
            self.doorbell.ring();
        }
        active.signal();
    }

    /// Takes what the guest sent and answers it.
    fn drain(&mut self) {
        let Some(active) = &mut self.active else {
            return;
        };
        let received = receive(&mut self.muxer, active);
        let sent = send(&mut self.muxer, active);
        if received == Turn::OutOfBudget || sent == Turn::OutOfBudget {
            self.doorbell.ring();
        }
        active.signal();
    }
}

impl Active {
    fn new(activation: Activation) -> Option<Self> {
        let mut queues = activation.queues.into_iter().map(Ring::new);
        Some(Self {
            memory: activation.memory,
            rx: queues.next()?,
            tx: queues.next()?,
            events: queues.next()?,
            interrupt: activation.interrupt,
        })
    }

    fn signal(&mut self) {
        let rx = self.rx.wants_signal(&self.memory);
        let tx = self.tx.wants_signal(&self.memory);
        if rx || tx {
            self.interrupt.signal_used();
        }
    }
}

fn receive<S: HostStream>(muxer: &mut Muxer<S>, active: &mut Active) -> Turn {
    let Active { memory, tx, .. } = active;
    tx.disarm(memory);
    for _ in 0..BUDGET {
        let (head, packet) = match tx.take(memory) {
            Some(Taken::Chain(Chain { head, readable, .. })) => (head, take_apart(readable)),
            Some(Taken::Malformed(head)) => (head, None),
            None if tx.rearm(memory) => continue,
            None => return Turn::Finished,
        };
        if let Some((header, data)) = packet {
            muxer.receive(&header, data);
        }
        tx.answer(memory, head, 0);
    }
    Turn::OutOfBudget
}

fn take_apart(mut packet: Buffers<'_>) -> Option<(Header, Buffers<'_>)> {
    let data = packet.split_off(HEADER_LEN);
    let mut header = [0; HEADER_LEN];
    (packet.copy_to(&mut header) == HEADER_LEN).then(|| (Header::parse(&header), data))
}

/// Notifications from the receive queue are wanted only while something waits for room in it; at other
/// times the guest refills it without an exit.
fn send<S: HostStream>(muxer: &mut Muxer<S>, active: &mut Active) -> Turn {
    let Active { memory, rx, .. } = active;
    rx.disarm(memory);
    for _ in 0..BUDGET {
        if !muxer.has_outgoing() {
            return Turn::Finished;
        }
        match rx.take(memory) {
            Some(Taken::Chain(Chain { head, writable, .. })) if writable.len() > HEADER_LEN => {
                match muxer.send(writable) {
                    Some(len) => rx.answer(memory, head, len),
                    None => rx.put_back(),
                }
            }
            Some(Taken::Chain(Chain { head, .. }) | Taken::Malformed(head)) => {
                rx.answer(memory, head, 0);
            }
            None if rx.rearm(memory) => {}
            None => return Turn::Finished,
        }
    }
    Turn::OutOfBudget
}

impl<S: HostStream + Send> VirtioDevice for Vsock<S> {
    type State = VsockState;
    const STATE_VERSION: u16 = 1;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_RING_F_EVENT_IDX
    }

    /// `struct virtio_vsock_config` (virtio 1.2, section 5.10.4).
    fn config(&self) -> Vec<u8> {
        self.guest_cid.to_le_bytes().to_vec()
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Active::new(activation);
        self.drain();
    }

    fn notify(&mut self, index: u16) {
        match index {
            RECEIVE_QUEUE => self.pump(),
            TRANSMIT_QUEUE => self.drain(),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.active = None;
        self.muxer.clear();
    }

    fn queues(&self) -> Vec<QueueState> {
        let active = self.active.iter();
        active
            .flat_map(|active| [&active.rx, &active.tx, &active.events].map(Ring::state))
            .collect()
    }

    fn save(&self) -> VsockState {
        self.muxer.save()
    }

    /// Every connection that the guest knows of is reset as soon as there is room to say so, and in front of anything
    /// else. With the connections everything about them is over, credit and unsent bytes included.
    fn restore(
        &mut self,
        state: &VsockState,
        activation: Option<Activation>,
    ) -> Result<(), RestoreError> {
        self.muxer.restore(state)?;
        self.active = activation.and_then(Active::new);
        Ok(())
    }
}
