//! Many connections at once, both directions, with everyone stalling at random.

use super::guest::{Machine, Packet};
use super::packet::{HOST_CID, Header, Op, SHUTDOWN_BOTH, TYPE_STREAM};
use crate::virtio::vsock::guest::GUEST_CID;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

const CONNECTIONS: usize = 50;
const EACH_WAY: usize = (64_usize << 20).div_ceil(CONNECTIONS);

/// A random number generator whose stream is known to both ends.
#[derive(Clone)]
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The bytes one direction of one connection carries, wherever one looks.
fn byte_at(seed: usize, at: usize) -> u8 {
    let mut noise = Noise((seed as u64) << 32 | (at / 8) as u64);
    noise.next().to_le_bytes()[at % 8]
}

fn bytes_at(seed: usize, at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|at| byte_at(seed, at)).collect()
}

fn check(seed: usize, at: usize, bytes: &[u8]) {
    assert!(
        bytes == bytes_at(seed, at, bytes.len()),
        "wrong bytes at {at} of {seed}"
    );
}

/// The guest's socket: its buffer, its credit and how far it is.
struct Socket {
    guest_port: u32,
    host_port: u32,
    index: usize,
    buf_alloc: u32,
    unread: usize,
    read: u32,
    received: usize,
    sent: u32,
    host_buf_alloc: u32,
    host_fwd_cnt: u32,
    open: bool,
    closed: bool,
}

impl Socket {
    fn header(&self, op: Op, len: usize) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: self.guest_port,
            dst_port: self.host_port,
            len: len as u32,
            kind: TYPE_STREAM,
            op: op as u16,
            flags: if op == Op::Shutdown { SHUTDOWN_BOTH } else { 0 },
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.read,
        }
    }

    fn hear(&mut self, packet: &Packet) {
        self.host_buf_alloc = packet.header.buf_alloc;
        self.host_fwd_cnt = packet.header.fwd_cnt;
        let in_flight = self.sent.wrapping_sub(self.host_fwd_cnt);
        assert!(
            in_flight <= self.host_buf_alloc,
            "the host forgot data it granted credit for"
        );
        if packet.op() == Op::Data {
            check(2 * self.index, self.received, &packet.data);
            self.received += packet.data.len();
            self.unread += packet.data.len();
            assert!(
                self.unread <= self.buf_alloc as usize,
                "the host sent more than it had credit for"
            );
        }
    }

    fn credit(&self) -> usize {
        (self.host_buf_alloc - self.sent.wrapping_sub(self.host_fwd_cnt)) as usize
    }
}

/// The host's end of a stream.
struct Client {
    stream: UnixStream,
    index: usize,
    written: usize,
    read: usize,
}

impl Client {
    fn write_some(&mut self, noise: &mut Noise) -> bool {
        let len = (1 + noise.below(100_000)).min(EACH_WAY - self.written);
        match self
            .stream
            .write(&bytes_at(2 * self.index, self.written, len))
        {
            Ok(len) => {
                self.written += len;
                len > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn read_some(&mut self, noise: &mut Noise) -> bool {
        let mut bytes = vec![0; 1 + noise.below(100_000)];
        match self.stream.read(&mut bytes) {
            Ok(len) => {
                check(2 * self.index + 1, self.read, &bytes[..len]);
                self.read += len;
                len > 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

struct Load {
    machine: Machine,
    noise: Noise,
    sockets: HashMap<u32, Socket>,
    clients: Vec<Client>,
}

impl Load {
    fn new() -> Self {
        let mut machine = Machine::new();
        let mut noise = Noise(7);
        let mut sockets = HashMap::new();
        let mut clients = Vec::new();
        for index in 0..CONNECTIONS {
            let (id, stream) = machine.connect(1024);
            let socket = Socket {
                guest_port: 1024,
                host_port: id.get(),
                index,
                buf_alloc: (1 + noise.below(256 << 10)) as u32,
                unread: 0,
                read: 0,
                received: 0,
                sent: 0,
                host_buf_alloc: 0,
                host_fwd_cnt: 0,
                open: false,
                closed: false,
            };
            sockets.insert(id.get(), socket);
            clients.push(Client {
                stream,
                index,
                written: 0,
                read: 0,
            });
        }
        Self {
            machine,
            noise,
            sockets,
            clients,
        }
    }

    /// The guest handles what arrived.
    fn guest_receives(&mut self) -> bool {
        let packets = self.machine.take_rx();
        let progress = !packets.is_empty();
        for packet in packets {
            let socket = self
                .sockets
                .get_mut(&packet.header.src_port)
                .expect("a packet of no connection");
            socket.hear(&packet);
            match packet.op() {
                Op::Request => {
                    assert!(!socket.open);
                    socket.open = true;
                    let header = socket.header(Op::Response, 0);
                    self.machine.transmit(header, &[]);
                }
                Op::Data | Op::CreditUpdate => assert!(socket.open && !socket.closed),
                Op::Reset => assert!(
                    socket.closed,
                    "the host broke connection {} off",
                    socket.index
                ),
                op => panic!("unexpected {op:?}"),
            }
        }
        progress
    }

    /// The guest's programs read and write.
    fn guest_works(&mut self) -> bool {
        let mut progress = false;
        for socket in self
            .sockets
            .values_mut()
            .filter(|socket| socket.open && !socket.closed)
        {
            if socket.unread > 0 && !self.noise.one_in(3) && self.machine.can_transmit() {
                let taken = 1 + self.noise.below(socket.unread);
                socket.unread -= taken;
                socket.read = socket.read.wrapping_add(taken as u32);
                self.machine
                    .transmit(socket.header(Op::CreditUpdate, 0), &[]);
                progress = true;
            }
            let left = (EACH_WAY - socket.sent as usize).min(socket.credit());
            if left > 0 && !self.noise.one_in(3) && self.machine.can_transmit() {
                let len = (1 + self.noise.below(64 << 10)).min(left);
                let data = bytes_at(2 * socket.index + 1, socket.sent as usize, len);
                self.machine.transmit(socket.header(Op::Data, len), &data);
                socket.sent += len as u32;
                progress = true;
            }
            let done = socket.sent as usize == EACH_WAY
                && socket.received == EACH_WAY
                && socket.unread == 0;
            if done && self.machine.can_transmit() {
                self.machine.transmit(socket.header(Op::Shutdown, 0), &[]);
                socket.closed = true;
                progress = true;
            }
        }
        progress
    }

    fn hosts_work(&mut self) -> bool {
        let mut progress = false;
        for client in &mut self.clients {
            if client.written < EACH_WAY && !self.noise.one_in(4) {
                progress |= client.write_some(&mut self.noise);
            }
            if client.read < EACH_WAY && !self.noise.one_in(4) {
                progress |= client.read_some(&mut self.noise);
            }
        }
        progress
    }

    fn is_done(&self) -> bool {
        self.clients.iter().all(|client| client.read == EACH_WAY)
            && self.sockets.values().all(|s| s.closed)
    }

    /// One round in which everyone may be lazy; false if nothing moved.
    fn step(&mut self) -> bool {
        let mut progress = false;
        if !self.noise.one_in(3) {
            progress |= self.hosts_work();
        }
        if !self.noise.one_in(3) {
            self.machine.poll_streams();
        }
        if !self.noise.one_in(3) {
            let buffers = self.noise.below(129);
            self.machine.post_rx(buffers);
        }
        if !self.noise.one_in(3) {
            progress |= self.guest_receives();
            progress |= self.guest_works();
            self.machine.kick();
        }
        progress
    }
}

#[test]
fn sixty_four_mebibytes_each_way_through_fifty_lazy_connections_arrive_intact() {
    let mut load = Load::new();
    let mut idle = 0;
    while !load.is_done() {
        idle = if load.step() { 0 } else { idle + 1 };
        // Every party gets a turn within a few rounds; a thousand without a byte is a stall for ever.
        assert!(idle < 1000, "nothing moves any more");
    }
    load.machine.exchange();
    assert_eq!(load.machine.device.connections(), 0);
    for client in &mut load.clients {
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    }
}
