//! The card, seen by a driver.

use super::{Header, Net, Segmentation};
use crate::GuestMemory;
use crate::virtio::probe::Probe;
use crate::virtio::testing::{Buffer, Driver, QUEUE_BYTES};
use crate::virtio::{Activation, VirtioDevice};
use proptest::prelude::*;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

const PAGES: u64 = 0x1_0000;

struct Machine {
    memory: GuestMemory,
    rx: Driver,
    tx: Driver,
    card: Net,
    probe: Probe,
}

fn machine(features: u64) -> Machine {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
    let (rx, tx) = (
        Driver::new(&memory, 0, 256),
        Driver::new(&memory, QUEUE_BYTES, 256),
    );
    let probe = Probe::default();
    let mut card = Net::new([2, 0, 0, 0, 0, 1]);
    card.activate(Activation {
        memory: memory.clone(),
        queues: vec![rx.queue(), tx.queue()],
        interrupt: Arc::new(probe.clone()),
        features: card.features() & features,
    });
    Machine {
        memory,
        rx,
        tx,
        card,
        probe,
    }
}

fn page(index: usize) -> u64 {
    PAGES + 4096 * index as u64
}

#[test]
fn what_the_driver_sends_is_received_without_its_header_and_answered_once() {
    let mut m = machine(u64::MAX);
    m.memory
        .write_slice(&[7; 12], GuestAddress(page(0)))
        .unwrap();
    m.memory
        .write_slice(b"frame of", GuestAddress(page(0) + 12))
        .unwrap();
    m.memory
        .write_slice(b" two", GuestAddress(page(1)))
        .unwrap();
    let head =
        m.tx.add(&[Buffer::Readable(page(0), 20), Buffer::Readable(page(1), 4)])
            .unwrap();
    let mut frame = b"what was there before".to_vec();
    m.card.begin();
    assert!(m.card.receive(&mut frame));
    assert_eq!(frame, b"frame of two");
    assert!(!m.card.receive(&mut frame));
    m.card.finish();
    assert_eq!(m.tx.used(), [(head, 0)]);
    assert_eq!(m.probe.interrupts(), 1);
    m.tx.add(&[Buffer::Readable(page(0), 20)]);
    assert!(
        m.tx.wants_kick(),
        "after an empty look the driver must say when there is more"
    );
}

proptest! {
    #[test]
    fn a_frame_for_the_driver_is_spread_over_as_many_buffers_as_it_takes(
        sizes in proptest::collection::vec(12u32..4096, 60..80),
        content in proptest::collection::vec(any::<u8>(), 1..20_000), cut in any::<prop::sample::Index>(),
    ) {
        let mut m = machine(u64::MAX);
        let heads: Vec<u16> = sizes.iter().enumerate()
            .map(|(index, size)| m.rx.add(&[Buffer::Writable(page(index), *size)]).unwrap())
            .collect();
        let header = Header {
            checksum: Some((34, 16)),
            segmentation: Some(Segmentation { size: 1460, headers: 54, v6: false }),
        };
        let (first, second) = content.split_at(cut.index(content.len()));
        m.card.begin();
        let total: u32 = sizes.iter().sum();
        let fits = total as usize >= content.len() + 12;
        prop_assert_eq!(m.card.send(header, [first, second]), fits);
        m.card.finish();
        let used = m.rx.used();
        if fits {
            let mut bytes = Vec::new();
            for (index, (head, len)) in used.iter().enumerate() {
                prop_assert_eq!(*head, heads[index]);
                let mut part = vec![0; *len as usize];
                m.memory.read_slice(&mut part, GuestAddress(page(index))).unwrap();
                bytes.extend(part);
            }
            prop_assert_eq!(&bytes[..10], &[1, 1, 54, 0, 180, 5, 34, 0, 16, 0]);
            prop_assert_eq!(usize::from(u16::from_le_bytes([bytes[10], bytes[11]])), used.len());
            prop_assert_eq!(&bytes[12..], &content[..]);
            prop_assert_eq!(m.probe.interrupts(), 1);
        } else {
            prop_assert!(used.is_empty());
        }
    }
}

#[test]
fn without_room_a_frame_waits_and_the_driver_is_asked_to_say_when_there_is_some() {
    let mut m = machine(u64::MAX);
    m.rx.add(&[Buffer::Writable(page(0), 512)]);
    m.card.begin();
    assert!(!m.card.send(Header::default(), [&[1; 600], &[]]));
    assert!(m.rx.used().is_empty());
    m.rx.add(&[Buffer::Writable(page(1), 512)]);
    assert!(m.rx.wants_kick());
    assert!(m.card.send(Header::default(), [&[1; 600], &[]]));
    assert_eq!(m.rx.used().len(), 2);
}

#[test]
fn a_driver_that_takes_whole_frames_gets_those_that_fit() {
    let mut m = machine(!(1 << 15));
    let small = m.rx.add(&[Buffer::Writable(page(0), 100)]).unwrap();
    let large = m.rx.add(&[Buffer::Writable(page(1), 1000)]).unwrap();
    m.card.begin();
    assert!(m.card.send(Header::default(), [&[1; 600], &[]]));
    assert!(m.card.send(Header::default(), [&[1; 600], &[]]));
    assert_eq!(m.rx.used(), [(small, 0), (large, 612)]);
}

#[test]
fn hostile_chains_are_given_back_and_nothing_else_happens() {
    let mut m = machine(u64::MAX);
    let mut frame = Vec::new();
    m.tx.add(&[Buffer::Readable(page(0), 5)]);
    m.tx.add(&[Buffer::Writable(page(0), 500)]);
    m.tx.add(&[Buffer::Readable(page(0), 70_000)]);
    m.tx.add(&[Buffer::Readable(u64::MAX - 30, 20)]);
    m.card.begin();
    assert!(!m.card.receive(&mut frame));
    assert_eq!(m.tx.used().len(), 4);
    m.rx.add(&[Buffer::Readable(page(0), 500)]);
    m.rx.add(&[Buffer::Writable(page(0), 4)]);
    assert!(m.card.send(Header::default(), [b"x", b""]));
    assert!(m.card.send(Header::default(), [b"x", b""]));
    assert_eq!(m.rx.used().len(), 2);
}
