//! A guest's socket driver and a host's event loop, for tests.

use super::packet::{HEADER_LEN, HOST_CID, Header, Op, TYPE_STREAM};
use super::state::VsockState;
use super::{ConnectionId, Readiness, Vsock};
use crate::GuestMemory;
use crate::virtio::board::{decode, encode};
use crate::virtio::probe::Probe;
use crate::virtio::testing::{Buffer, Driver};
use crate::virtio::{Activation, VirtioDevice};
use rustix::event::epoll;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use virtio_queue::Queue;
use vm_memory::{Bytes, GuestAddress};

pub const GUEST_CID: u64 = 3;
pub const RX: u16 = 0;
pub const TX: u16 = 1;

const RX_SLOTS: u64 = 0x10_0000;
const RX_SLOT: u64 = 8192;
const RX_DATA: u32 = 4096;
const TX_SLOTS: u64 = 0x80_0000;
const TX_SLOT: u64 = 128 << 10;
const TX_DATA: usize = 64 << 10;

/// A packet, taken out of guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub header: Header,
    pub data: Vec<u8>,
}

impl Packet {
    pub fn op(&self) -> Op {
        self.header
            .op()
            .expect("the device sends only known packets")
    }
}

/// Guest, device and event loop.
pub struct Machine {
    pub memory: GuestMemory,
    pub rx: Driver,
    pub tx: Driver,
    pub device: Vsock<UnixStream>,
    pub probe: Probe,
    epoll: OwnedFd,
    rx_slots: Vec<u64>,
    rx_busy: HashMap<u16, u64>,
    tx_slots: Vec<u64>,
    tx_busy: HashMap<u16, u64>,
}

impl Machine {
    /// A machine whose guest posted no receive buffer yet.
    pub fn new() -> Self {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 32 << 20)]).unwrap();
        let (rx, tx) = (
            Driver::new(&memory, 0, 256),
            Driver::new(&memory, 0x4000, 128),
        );
        let events = Driver::new(&memory, 0x8000, 8);
        let probe = Probe::default();
        let mut device = Vsock::new(GUEST_CID, Box::new(probe.clone()));
        device.activate(Activation {
            memory: memory.clone(),
            queues: vec![rx.queue(), tx.queue(), events.queue()],
            interrupt: Arc::new(probe.clone()),
            features: device.features(),
        });
        Self {
            memory,
            rx,
            tx,
            device,
            probe,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
            rx_slots: (0..128).map(|i| RX_SLOTS + RX_SLOT * i).collect(),
            rx_busy: HashMap::new(),
            tx_slots: (0..64).map(|i| TX_SLOTS + TX_SLOT * i).collect(),
            tx_busy: HashMap::new(),
        }
    }

    /// Connects one end of a pair as the VMM does, and returns the other.
    pub fn connect(&mut self, port: u32) -> (ConnectionId, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let watched = ours.try_clone().unwrap();
        let id = self.device.connect(ours, port);
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(
            &self.epoll,
            &watched,
            epoll::EventData::new_u64(id.get().into()),
            flags,
        )
        .unwrap();
        self.device.pump();
        (id, theirs)
    }

    /// One round of the event loop, without waiting.
    pub fn poll_streams(&mut self) {
        let mut events = Vec::with_capacity(256);
        let zero = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&zero),
        )
        .unwrap();
        for event in events {
            let id = ConnectionId::from_raw(event.data.u64() as u32);
            let flags = event.flags;
            let readiness = Readiness {
                read: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
                write: flags.contains(epoll::EventFlags::OUT),
                hangup: flags.contains(epoll::EventFlags::HUP),
            };
            self.device.stream_ready(id, readiness);
        }
        self.device.pump();
        self.answer_doorbell();
    }

    fn answer_doorbell(&mut self) {
        while self.probe.rings() > 0 {
            self.device.notify(RX);
            self.device.notify(TX);
        }
    }

    /// Posts up to `count` receive buffers, header and data apart as Linux 6.1 does; notifies if wanted.
    pub fn post_rx(&mut self, count: usize) {
        for _ in 0..count {
            let Some(slot) = self.rx_slots.pop() else {
                break;
            };
            let header = Buffer::Writable(slot, HEADER_LEN as u32);
            let head = self
                .rx
                .add(&[header, Buffer::Writable(slot + 4096, RX_DATA)])
                .unwrap();
            self.rx_busy.insert(head, slot);
        }
        if self.rx.wants_kick() {
            self.device.notify(RX);
            self.answer_doorbell();
        }
    }

    /// What the device sent, if it interrupted.
    pub fn take_rx(&mut self) -> Vec<Packet> {
        if self.probe.interrupts() == 0 {
            return Vec::new();
        }
        for (head, _) in self.tx.used() {
            self.tx_slots.push(self.tx_busy.remove(&head).unwrap());
        }
        let used = self.rx.used();
        used.into_iter()
            .map(|(head, len)| self.read_packet(head, len))
            .collect()
    }

    fn read_packet(&mut self, head: u16, len: u32) -> Packet {
        let slot = self.rx_busy.remove(&head).unwrap();
        let mut header = [0; HEADER_LEN];
        self.memory
            .read_slice(&mut header, GuestAddress(slot))
            .unwrap();
        let header = Header::parse(&header);
        assert_eq!(len as usize, HEADER_LEN + header.len as usize);
        assert_eq!((header.dst_cid, header.kind), (GUEST_CID, TYPE_STREAM));
        let mut data = vec![0; header.len as usize];
        self.memory
            .read_slice(&mut data, GuestAddress(slot + 4096))
            .unwrap();
        self.rx_slots.push(slot);
        Packet { header, data }
    }

    /// Whether [`Machine::transmit`] has room for another packet.
    pub fn can_transmit(&self) -> bool {
        !self.tx_slots.is_empty() && self.tx.room() >= 2
    }

    /// Puts a packet into the transmit queue; notifies only in [`Machine::kick`].
    pub fn transmit(&mut self, header: Header, data: &[u8]) {
        assert!(data.len() <= TX_DATA);
        let slot = self.tx_slots.pop().expect("no transmit slot is free");
        self.memory
            .write_slice(&header.to_bytes(), GuestAddress(slot))
            .unwrap();
        self.memory
            .write_slice(data, GuestAddress(slot + 4096))
            .unwrap();
        let header = Buffer::Readable(slot, HEADER_LEN as u32);
        let data = Buffer::Readable(slot + 4096, data.len() as u32);
        let chain = if let Buffer::Readable(_, 0) = data {
            vec![header]
        } else {
            vec![header, data]
        };
        let head = self.tx.add(&chain).unwrap();
        self.tx_busy.insert(head, slot);
    }

    pub fn kick(&mut self) {
        if self.tx.wants_kick() {
            self.device.notify(TX);
            self.answer_doorbell();
        }
    }

    /// Fills every buffer the guest has posted, with refusals of packets that nobody expects.
    pub fn take_all_buffers(&mut self) {
        let nobody = Peer {
            guest_port: 9,
            host_port: 9,
            buf_alloc: 0,
            fwd_cnt: 0,
        };
        while !self.rx_busy.is_empty() {
            self.say(nobody.header(Op::Data, 0), &[]);
            self.take_rx();
        }
    }

    /// Goes on in another process. The streams of this one are gone, and so is what is under way between driver and
    /// device.
    pub fn live_again(&mut self) {
        self.live_again_from(&self.device.save());
    }

    /// The same with a past of the test's own making.
    pub fn live_again_from(&mut self, state: &VsockState) {
        let _ = (self.rx.wants_kick(), self.tx.wants_kick());
        let state: VsockState = decode(&encode(state));
        let queues = self.device.queues().into_iter().map(Queue::try_from);
        let activation = Activation {
            memory: self.memory.clone(),
            queues: queues.collect::<Result<_, _>>().unwrap(),
            interrupt: Arc::new(self.probe.clone()),
            features: self.device.features(),
        };
        self.device = Vsock::new(GUEST_CID, Box::new(self.probe.clone()));
        self.probe.interrupts();
        self.device.restore(&state, Some(activation)).unwrap();
        assert_eq!(self.probe.interrupts(), 0, "an interrupt too early");
        self.epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        self.device.notify(RX);
        self.device.notify(TX);
        self.answer_doorbell();
    }

    /// Transmits one packet at once.
    pub fn say(&mut self, header: Header, data: &[u8]) {
        self.transmit(header, data);
        self.kick();
    }

    /// Posts plenty of buffers, runs the event loop, and returns all that arrives.
    pub fn exchange(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            self.post_rx(128);
            self.poll_streams();
            let new = self.take_rx();
            if new.is_empty() {
                return packets;
            }
            packets.extend(new);
        }
    }

    /// Connects, and lets the guest accept with a buffer of `buf_alloc` bytes.
    pub fn connect_accepted(&mut self, port: u32, buf_alloc: u32) -> (Peer, UnixStream) {
        let (id, stream) = self.connect(port);
        let packets = self.exchange();
        let request = &packets.last().expect("no request").header;
        assert_eq!((request.op(), request.dst_port), (Some(Op::Request), port));
        assert_eq!(request.src_port, id.get());
        let peer = Peer {
            guest_port: port,
            host_port: request.src_port,
            buf_alloc,
            fwd_cnt: 0,
        };
        self.say(peer.header(Op::Response, 0), &[]);
        (peer, stream)
    }
}

/// The guest's end of a connection, as far as headers go.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub guest_port: u32,
    pub host_port: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

impl Peer {
    pub fn header(&self, op: Op, len: usize) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: self.guest_port,
            dst_port: self.host_port,
            len: len as u32,
            kind: TYPE_STREAM,
            op: op as u16,
            flags: 0,
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.fwd_cnt,
        }
    }

    pub fn shutdown(&self, flags: u32) -> Header {
        Header {
            flags,
            ..self.header(Op::Shutdown, 0)
        }
    }
}
