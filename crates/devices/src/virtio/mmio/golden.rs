//! The bytes of devices in state files, frozen. If a test here fails, count `STATE_VERSION` of the devices it names
//! up, say in docs/snapshot-format.md what changed, and freeze the new bytes.

use super::state::{QueueWords, TransportState};
use crate::virtio::VirtioDevice;
use crate::virtio::balloon::{Balloon, Reclaim};
use crate::virtio::blk::{Block, FileDisk};
use crate::virtio::board::{decode, encode};
use crate::virtio::rng::Rng;
use crate::virtio::vsock::{Ports, StrayReset, Vsock, VsockState};
use std::io::Empty;
use std::os::unix::net::UnixStream;
use vm_memory::GuestAddress;

fn transport<S>(device: S) -> TransportState<S> {
    TransportState {
        device_type: 2,
        status: 15,
        device_features_sel: 1,
        driver_features_sel: 0,
        driver_features: 1 << 32,
        queue_sel: 300,
        interrupt_status: 3,
        config_generation: 5,
        config: vec![0x80, 0],
        activated: true,
        queues: vec![QueueWords {
            max_size: 256,
            size: 128,
            ready: true,
            descriptors: 0x1000,
            available: 0x2000,
            used: 0x3000,
            next_available: 7,
            next_used: 6,
        }],
        device,
    }
}

/// Of [`transport`], up to the device's own part.
const TRANSPORT: [u8; 32] = [
    2, 15, 1, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 0xac, 2, 3, 5, // up to the generation
    2, 0x80, 1, 0, // configuration
    1, // activated
    1, 0x80, 2, 0x80, 1, 1, // queues: sizes, ready
    0x80, 0x20, 0x80, 0x40, 0x80, 0x60, // addresses
    7, 6, // positions
];

fn expected(own: &[u8]) -> Vec<u8> {
    [&TRANSPORT[..], own].concat()
}

struct Nowhere;

impl Reclaim for Nowhere {
    fn release(&self, _: GuestAddress, _: u64) {}
}

#[test]
fn devices_without_a_part_of_their_own() {
    let state = transport(());
    assert_eq!(encode(&state), expected(&[]));
    assert_eq!(decode::<TransportState<()>>(&expected(&[])), state);
    assert_eq!(<Block<FileDisk> as VirtioDevice>::STATE_VERSION, 1);
    assert_eq!(<Rng<Empty> as VirtioDevice>::STATE_VERSION, 1);
    assert_eq!(<Balloon<Nowhere> as VirtioDevice>::STATE_VERSION, 1);
}

#[test]
fn a_socket_device() {
    let ports = |host, guest| Ports { host, guest };
    let state = transport(VsockState {
        next_port: 0x4000_0001,
        connections: vec![ports(0x4000_0000, 1024)],
        resets: vec![StrayReset {
            cid: 2,
            ports: ports(7, 300),
        }],
    });
    let own = [
        0x81, 0x80, 0x80, 0x80, 4, // next port
        1, 0x80, 0x80, 0x80, 0x80, 4, 0x80, 8, // connections
        1, 2, 7, 0xac, 2, // resets
    ];
    assert_eq!(encode(&state), expected(&own));
    assert_eq!(decode::<TransportState<VsockState>>(&expected(&own)), state);
    assert_eq!(<Vsock<UnixStream> as VirtioDevice>::STATE_VERSION, 1);
}
