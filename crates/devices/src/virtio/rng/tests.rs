//! The entropy device, seen by a driver.

use super::Rng;
use crate::GuestMemory;
use crate::virtio::probe::Probe;
use crate::virtio::testing::{Buffer, Driver};
use crate::virtio::{Activation, VirtioDevice};
use std::io::{self, Read};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// Counts up, so that each byte shows where it came from.
struct Counter(u8);

impl Read for Counter {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(bytes.len())
    }
}

struct Dry;

impl Read for Dry {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Other.into())
    }
}

fn machine<E: Read + Send>(entropy: E) -> (GuestMemory, Driver, Rng<E>, Probe) {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let driver = Driver::new(&memory, 0, 8);
    let probe = Probe::default();
    let mut device = Rng::new(entropy, Box::new(probe.clone()));
    device.activate(Activation {
        memory: memory.clone(),
        queues: vec![driver.queue()],
        interrupt: Arc::new(probe.clone()),
        features: device.features(),
    });
    (memory, driver, device, probe)
}

#[test]
fn every_buffer_of_a_request_is_filled() {
    let (memory, mut driver, mut device, probe) = machine(Counter(1));
    let head = driver
        .add(&[
            Buffer::Writable(0x1_0000, 3),
            Buffer::Writable(0x2_0000, 5000),
        ])
        .unwrap();
    device.notify(0);
    assert_eq!(driver.used(), [(head, 5003)]);
    assert_eq!(probe.interrupts(), 1);
    let mut bytes = vec![0; 5003];
    memory
        .read_slice(&mut bytes[..3], GuestAddress(0x1_0000))
        .unwrap();
    memory
        .read_slice(&mut bytes[3..], GuestAddress(0x2_0000))
        .unwrap();
    let mut expected = vec![0; 5003];
    Counter(1).read_exact(&mut expected).unwrap();
    assert!(bytes == expected);
}

#[test]
fn one_request_gets_64_kib_at_most() {
    let (_, mut driver, mut device, _) = machine(Counter(0));
    driver
        .add(&[
            Buffer::Writable(0x1_0000, 40_000),
            Buffer::Writable(0x1_0000, 40_000),
        ])
        .unwrap();
    device.notify(0);
    assert_eq!(driver.used()[0].1, 64 << 10);
}

#[test]
fn without_entropy_the_driver_gets_its_buffer_back_empty() {
    let (_, mut driver, mut device, _) = machine(Dry);
    let head = driver.add(&[Buffer::Writable(0x1_0000, 64)]).unwrap();
    device.notify(0);
    assert_eq!(driver.used(), [(head, 0)]);
}

#[test]
fn requests_that_make_no_sense_are_given_back() {
    let (_, mut driver, mut device, _) = machine(Counter(0));
    driver.add(&[Buffer::Readable(0x1_0000, 64)]).unwrap();
    driver.add(&[Buffer::Writable(u64::MAX, 64)]).unwrap();
    device.notify(0);
    assert!(driver.used().iter().all(|&(_, len)| len == 0));
    driver.add(&[Buffer::Writable(0x1_0000, 1)]).unwrap();
    assert!(driver.wants_kick());
    device.notify(0);
    assert_eq!(driver.used()[0].1, 1);
}
