//! The way to one other member: a socket between two stacks, a packet per message.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

/// Packets that wait for the other stack, in bytes: more than Linux has under way on one connection.
const MAX_QUEUED: usize = 8 << 20;
/// What the kernel is asked to hold; it gives what it may.
const BUFFER: usize = 4 << 20;

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) address: Ipv4Addr,
    pub(super) socket: OwnedFd,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    /// A packet that the guest's link had no room for.
    pub(super) stashed: Option<Vec<u8>>,
    /// In the queue of those that may have something for the guest.
    pub(super) waits: bool,
}

/// The other stack is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Channel {
    pub(super) fn new(address: Ipv4Addr, socket: OwnedFd) -> Self {
        // It works with less, only slower.
        let _ = sockopt::set_socket_send_buffer_size(&socket, BUFFER);
        Self {
            address,
            socket,
            queue: VecDeque::new(),
            queued: 0,
            stashed: None,
            waits: false,
        }
    }

    /// Bytes it keeps for the other stack.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Sends a packet, or keeps it while there is room for so many bytes; then it is lost, as on any network.
    pub(super) fn send(&mut self, packet: &[u8], room: usize) -> Result<(), Gone> {
        if self.queue.is_empty() && self.put(packet)? {
            return Ok(());
        }
        if self.queued + packet.len() <= MAX_QUEUED && packet.len() <= room {
            self.queued += packet.len();
            self.queue.push_back(packet.to_vec());
        }
        Ok(())
    }

    /// Sends what was kept.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        while let Some(packet) = self.queue.pop_front() {
            if !self.put(&packet)? {
                self.queue.push_front(packet);
                return Ok(());
            }
            self.queued -= packet.len();
        }
        Ok(())
    }

    /// False if the socket is full.
    fn put(&self, packet: &[u8]) -> Result<bool, Gone> {
        loop {
            return match send(
                &self.socket,
                packet,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(_) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(false),
                // Without memory for it, or over what the host allows a message to be: lost.
                Err(Errno::NOBUFS | Errno::NOMEM | Errno::MSGSIZE) => Ok(true),
                Err(_) => Err(Gone),
            };
        }
    }

    /// The next packet of the other stack; its length. `None`: there is none now.
    pub(super) fn receive(&self, packet: &mut [u8]) -> Result<Option<usize>, Gone> {
        loop {
            return match recv(&self.socket, &mut *packet, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => Err(Gone),
                Ok((_, length)) => Ok(Some(length.min(packet.len()))),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Ok(None),
                Err(_) => Err(Gone),
            };
        }
    }
}
