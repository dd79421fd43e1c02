//! A split queue from the device's side: take chains, answer each once, signal once per batch.

use super::buffers::Buffers;
use crate::GuestMemory;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestMemory as _, Permissions};

/// Descriptors one chain may have. A driver never needs more than its queue is long, but a table of
/// indirect descriptors could name 65,535.
const MAX_DESCRIPTORS: usize = 512;

/// A chain the driver made available, with its buffers looked up.
#[derive(Debug)]
pub struct Chain<'m> {
    /// What [`Ring::answer`] wants to know.
    pub head: u16,
    /// What the device may read.
    pub readable: Buffers<'m>,
    /// What the device may write.
    pub writable: Buffers<'m>,
}

/// What [`Ring::take`] found.
#[derive(Debug)]
pub enum Taken<'m> {
    /// A usable chain. It must be answered.
    Chain(Chain<'m>),
    /// The head of a chain that makes no sense. It must be answered.
    Malformed(u16),
}

/// One queue of an activated device.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    answered: bool,
    broken: bool,
}

impl Ring {
    /// Takes over a queue that the transport validated.
    pub const fn new(queue: Queue) -> Self {
        Self {
            queue,
            answered: false,
            broken: false,
        }
    }

    /// The next chain, if the driver made one available.
    ///
    /// A driver that claims more chains than the queue holds has lost track of it: nothing is taken from
    /// that queue again.
    pub fn take<'m>(&mut self, memory: &'m GuestMemory) -> Option<Taken<'m>> {
        let descriptors = match self.queue.iter(memory) {
            Ok(mut chains) => chains.next()?,
            Err(_) => {
                self.broken = true;
                return None;
            }
        };
        let head = descriptors.head_index();
        Some(match gather(descriptors, memory) {
            Some((readable, writable)) => Taken::Chain(Chain {
                head,
                readable,
                writable,
            }),
            None => Taken::Malformed(head),
        })
    }

    /// Puts the chain taken last back, unanswered.
    pub fn put_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives a chain back to the driver, with `len` bytes written to it.
    pub fn answer(&mut self, memory: &GuestMemory, head: u16, len: usize) {
        // Fails only for a head that is no descriptor of this queue: there is nothing to give back.
        if self
            .queue
            .add_used(memory, head, u32::try_from(len).unwrap_or(u32::MAX))
            .is_ok()
        {
            self.answered = true;
        }
    }

    /// The driver need not notify: the queue is being looked at.
    pub fn disarm(&mut self, memory: &GuestMemory) {
        // The rings were checked to lie in guest memory, and a notification too many does no harm.
        let _ = self.queue.disable_notification(memory);
    }

    /// The driver must notify from now on. True if chains came meanwhile: look again.
    #[must_use]
    pub fn rearm(&mut self, memory: &GuestMemory) -> bool {
        !self.broken && self.queue.enable_notification(memory).unwrap_or(false)
    }

    /// Whether the driver wants to be interrupted for what was answered since the last call.
    #[must_use]
    pub fn wants_signal(&mut self, memory: &GuestMemory) -> bool {
        std::mem::take(&mut self.answered) && self.queue.needs_notification(memory).unwrap_or(true)
    }
}

/// Looks up a chain's buffers. `None` for a chain that leaves guest memory, has too many descriptors, a
/// readable one after a writable one (virtio 1.2, section 2.7.4.2), or no end.
fn gather<'m>(
    descriptors: DescriptorChain<&'m GuestMemory>,
    memory: &'m GuestMemory,
) -> Option<(Buffers<'m>, Buffers<'m>)> {
    let (mut readable, mut writable) = (Buffers::default(), Buffers::default());
    // The iterator stops without a word where the chain cannot be followed; an empty chain is one whose
    // first descriptor does not exist.
    let mut has_end = false;
    for (index, descriptor) in descriptors.enumerate() {
        has_end = !descriptor.has_next();
        let (buffers, access) = match descriptor.is_write_only() {
            true => (&mut writable, Permissions::Write),
            false if writable.is_empty() => (&mut readable, Permissions::Read),
            false => return None,
        };
        if index == MAX_DESCRIPTORS {
            return None;
        }
        for slice in memory
            .get_slices(descriptor.addr(), descriptor.len() as usize, access)
            .ok()?
        {
            buffers.push(slice.ok()?);
        }
    }
    has_end.then_some((readable, writable))
}
