//! A split queue from the device's side: take chains, answer each once, signal once per batch.

use super::buffers::Buffers;
use crate::GuestMemory;
use std::sync::atomic::{Ordering, fence};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory as _, Permissions};

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

/// What [`Ring::take_report`] found.
#[derive(Debug)]
pub struct Report {
    /// What [`Ring::answer`] wants to know. It must be answered.
    pub head: u16,
    /// The places the device may write, in the guest's terms. None of a chain that makes no sense.
    pub ranges: Vec<(GuestAddress, u64)>,
}

/// One queue of an activated device.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    answered: bool,
    /// Where the used ring stood when the driver was signaled last, or need not have been.
    signaled: u16,
    broken: bool,
}

impl Ring {
    /// Takes over a queue that the transport validated.
    pub fn new(queue: Queue) -> Self {
        Self {
            signaled: queue.next_used(),
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
        let descriptors = self.next_chain(memory)?;
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

    /// The same for a chain that is about memory and not about what is in it.
    pub fn take_report(&mut self, memory: &GuestMemory) -> Option<Report> {
        let descriptors = self.next_chain(memory)?;
        Some(Report {
            head: descriptors.head_index(),
            ranges: gather_ranges(descriptors, memory).unwrap_or_default(),
        })
    }

    fn next_chain<'m>(
        &mut self,
        memory: &'m GuestMemory,
    ) -> Option<DescriptorChain<&'m GuestMemory>> {
        match self.queue.iter(memory) {
            Ok(mut chains) => chains.next(),
            Err(_) => {
                self.broken = true;
                None
            }
        }
    }

    /// Where the queue stands. Between turns that is all there is to know: what was answered was signaled, and a
    /// broken queue shows itself again.
    pub fn state(&self) -> QueueState {
        self.queue.state()
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

    /// Gives chains back that belong together: the driver finds all of them or none.
    pub fn answer_together(&mut self, memory: &GuestMemory, chains: &[(u16, usize)]) {
        let Some((&(last, last_len), others)) = chains.split_last() else {
            return;
        };
        // Behind the index that the driver looks at, which only the last one moves.
        let first = self.queue.next_used();
        for (offset, &(head, len)) in (0..).zip(others) {
            let place = first.wrapping_add(offset) % self.queue.size();
            let element = [u32::from(head), u32::try_from(len).unwrap_or(u32::MAX)].map(u32::to_le);
            let address = self.queue.used_ring() + 4 + 8 * u64::from(place);
            // The ring was checked to lie in guest memory.
            let _ = memory.write_obj(element, GuestAddress(address));
        }
        let others = others.len() as u16;
        self.queue.set_next_used(first.wrapping_add(others));
        self.answer(memory, last, last_len);
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
    ///
    /// With EVENT_IDX it wants to if the entry it waits for is among those (virtio 1.2, section 2.7.10.1).
    #[must_use]
    pub fn wants_signal(&mut self, memory: &GuestMemory) -> bool {
        if !std::mem::take(&mut self.answered) {
            return false;
        }
        let now = self.queue.next_used();
        let since = std::mem::replace(&mut self.signaled, now);
        if !self.queue.event_idx_enabled() {
            return true;
        }
        // The driver must see the index before we look at what it waits for.
        fence(Ordering::SeqCst);
        let address = self.queue.avail_ring() + 4 + 2 * u64::from(self.queue.size());
        memory
            .load::<u16>(GuestAddress(address), Ordering::Relaxed)
            .is_ok_and(|awaited| {
                let behind = now.wrapping_sub(u16::from_le(awaited)).wrapping_sub(1);
                behind < now.wrapping_sub(since)
            })
    }
}

/// Looks up a chain's buffers. `None` for a chain that leaves guest memory, has too many descriptors, a
/// readable one after a writable one (virtio 1.2, section 2.7.4.2), or no end.
fn gather<'m>(
    descriptors: DescriptorChain<&'m GuestMemory>,
    memory: &'m GuestMemory,
) -> Option<(Buffers<'m>, Buffers<'m>)> {
    let (mut readable, mut writable) = (Buffers::default(), Buffers::default());
    walk(descriptors, |descriptor| {
        let (buffers, access) = match descriptor.is_write_only() {
            true => (&mut writable, Permissions::Write),
            false if writable.is_empty() => (&mut readable, Permissions::Read),
            false => return None,
        };
        for slice in memory
            .get_slices(descriptor.addr(), descriptor.len() as usize, access)
            .ok()?
        {
            buffers.push(slice.ok()?);
        }
        Some(())
    })?;
    Some((readable, writable))
}

/// Looks up where a chain's writable buffers are. `None` for a chain that leaves guest memory, has too many
/// descriptors, or no end.
fn gather_ranges(
    descriptors: DescriptorChain<&GuestMemory>,
    memory: &GuestMemory,
) -> Option<Vec<(GuestAddress, u64)>> {
    let mut ranges = Vec::new();
    walk(descriptors, |descriptor| {
        let (start, length) = (descriptor.addr(), descriptor.len());
        if descriptor.is_write_only() && length > 0 {
            memory
                .check_range(start, length as usize, Permissions::Write)
                .then(|| ranges.push((start, length.into())))?;
        }
        Some(())
    })?;
    Some(ranges)
}

/// Shows the descriptors of a chain one by one. `None` if there are too many or there is no end to them, or if
/// `visit` says so.
fn walk(
    descriptors: DescriptorChain<&GuestMemory>,
    mut visit: impl FnMut(&Descriptor) -> Option<()>,
) -> Option<()> {
    // The iterator stops without a word where the chain cannot be followed; an empty chain is one whose
    // first descriptor does not exist.
    let mut has_end = false;
    for (index, descriptor) in descriptors.enumerate() {
        if index == MAX_DESCRIPTORS {
            return None;
        }
        has_end = !descriptor.has_next();
        visit(&descriptor)?;
    }
    has_end.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::testing::{Buffer, Descriptor, Driver};
    use vm_memory::GuestAddress;

    fn ring() -> (GuestMemory, Driver, Ring) {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let driver = Driver::new(&memory, 0, 16);
        let ring = Ring::new(driver.queue());
        (memory, driver, ring)
    }

    const BUFFER: [Buffer; 1] = [Buffer::Writable(0x1_0000, 64)];

    fn take_head(ring: &mut Ring, memory: &GuestMemory) -> Option<u16> {
        match ring.take(memory)? {
            Taken::Chain(chain) => Some(chain.head),
            Taken::Malformed(head) => panic!("chain {head} is malformed"),
        }
    }

    #[test]
    fn a_chain_that_comes_just_before_rearming_is_noticed() {
        let (memory, mut driver, mut ring) = ring();
        assert_eq!(take_head(&mut ring, &memory), None);
        let head = driver.add(&BUFFER).unwrap();
        assert!(ring.rearm(&memory));
        assert_eq!(take_head(&mut ring, &memory), Some(head));
        assert!(!ring.rearm(&memory));
        driver.add(&BUFFER);
        assert!(driver.wants_kick());
    }

    #[test]
    fn a_chain_put_back_comes_again() {
        let (memory, mut driver, mut ring) = ring();
        let (first, second) = (driver.add(&BUFFER), driver.add(&BUFFER));
        assert_eq!(take_head(&mut ring, &memory), first);
        ring.put_back();
        assert_eq!(take_head(&mut ring, &memory), first);
        assert_eq!(take_head(&mut ring, &memory), second);
    }

    #[test]
    fn without_an_answer_there_is_no_signal_even_to_a_driver_that_wants_all() {
        let (memory, mut driver, _) = ring();
        let mut queue = driver.queue();
        queue.set_event_idx(false);
        let mut ring = Ring::new(queue);
        driver.add(&BUFFER);
        assert!(!ring.wants_signal(&memory));
        let head = take_head(&mut ring, &memory).unwrap();
        ring.answer(&memory, head, 0);
        assert!(ring.wants_signal(&memory));
        assert!(!ring.wants_signal(&memory));
    }

    #[test]
    fn a_ring_that_claims_too_much_is_left_alone() {
        let (memory, mut driver, mut ring) = ring();
        driver.set_avail_idx(17);
        assert_eq!(take_head(&mut ring, &memory), None);
        assert!(!ring.rearm(&memory), "it would be looked at for ever");
    }

    #[test]
    fn chains_without_an_end_are_malformed() {
        const NEXT: u16 = 1;
        let good = Descriptor {
            addr: 0x1_0000,
            len: 8,
            flags: 0,
            next: 0,
        };
        let cases = [
            // In a circle, to nowhere, and to a table that is no table.
            Descriptor {
                flags: NEXT,
                next: 3,
                ..good
            },
            Descriptor {
                flags: NEXT,
                next: 16,
                ..good
            },
            Descriptor {
                flags: 4,
                len: 17,
                ..good
            },
            Descriptor {
                flags: 4,
                len: 0,
                ..good
            },
            Descriptor {
                flags: 4,
                addr: u64::MAX - 3,
                len: 16,
                ..good
            },
        ];
        for descriptor in cases {
            let (memory, mut driver, mut ring) = ring();
            driver.write_descriptor(3, descriptor);
            driver.offer(3);
            assert!(
                matches!(ring.take(&memory), Some(Taken::Malformed(3))),
                "{descriptor:?}"
            );
        }
    }

    #[test]
    fn a_table_of_too_many_descriptors_is_malformed() {
        for (count, usable) in [(MAX_DESCRIPTORS, true), (MAX_DESCRIPTORS + 1, false)] {
            let (memory, mut driver, mut ring) = ring();
            driver.add_indirect(0x2_0000, &vec![BUFFER[0]; count]);
            assert_eq!(matches!(ring.take(&memory), Some(Taken::Chain(_))), usable);
        }
    }
}
