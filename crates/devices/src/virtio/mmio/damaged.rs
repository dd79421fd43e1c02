//! Saved states with damage that no digest caught: refused, or a machine that only its own guest suffers from.

use super::state::TransportState;
use crate::GuestMemory;
use crate::virtio::VirtioDevice;
use crate::virtio::balloon::{Balloon, Reclaim};
use crate::virtio::blk::{Access, Block, FileDisk};
use crate::virtio::board::{Board, encode};
use crate::virtio::probe::Probe;
use crate::virtio::rng::Rng;
use crate::virtio::testing::{Buffer, Driver, QUEUE_BYTES};
use crate::virtio::vsock::Vsock;
use proptest::prelude::*;
use std::io::repeat;
use std::os::unix::net::UnixStream;
use vm_memory::GuestAddress;

const EVENT_IDX: u64 = 1 << 29;

/// Bytes to change: where, and into what.
type Damage = Vec<(prop::sample::Index, u8)>;

fn damage() -> impl Strategy<Value = Damage> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

/// Damages what is saved of a device with a request waiting in each queue, and lives on with it for some turns.
fn live_with<D: VirtioDevice>(damage: &Damage, make: impl Fn(&Probe) -> D) {
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let mut board = Board::new(&memory, &make);
    let sizes = board.transport.device().queue_sizes();
    let mut drivers: Vec<Driver> = (0..)
        .zip(sizes)
        .map(|(i, &size)| Driver::new(&memory, 0x1000 + QUEUE_BYTES * i, size))
        .collect();
    board.start(EVENT_IDX, &drivers.iter().collect::<Vec<_>>());
    for driver in &mut drivers {
        driver.add(&[
            Buffer::Readable(0x8_0000, 64),
            Buffer::Writable(0x9_0000, 64),
        ]);
    }
    let mut bytes = encode(&board.transport.save());
    for (at, byte) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    let Ok(state) = postcard::from_bytes::<TransportState<D::State>>(&bytes) else {
        return;
    };
    let Ok(mut restored) = board.restored_from(&state, &make) else {
        return;
    };
    restored.resume();
    for driver in &mut drivers {
        driver.add(&[Buffer::Writable(0x9_0000, 64)]);
    }
    for _ in 0..4 {
        restored.resume();
    }
    restored.write(super::register::STATUS, 0);
}

struct Nowhere;

impl Reclaim for Nowhere {
    fn release(&self, _: GuestAddress, _: u64) {}
}

proptest! {
    #[test]
    fn a_disk(damage in damage()) {
        live_with(&damage, |probe| {
            Block::<FileDisk>::new(Access::ReadWrite, "", Box::new(probe.clone()), Box::new(|_| ()))
        });
    }

    #[test]
    fn a_socket_device(damage in damage()) {
        live_with(&damage, |probe| Vsock::<UnixStream>::new(3, Box::new(probe.clone())));
    }

    #[test]
    fn an_entropy_device(damage in damage()) {
        live_with(&damage, |probe| Rng::new(repeat(1), Box::new(probe.clone())));
    }

    #[test]
    fn a_balloon(damage in damage()) {
        live_with(&damage, |probe| Balloon::new(Nowhere, Box::new(probe.clone())));
    }
}
