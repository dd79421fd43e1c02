//! One connection: a stream of the host, joined to a socket of the guest.

use super::credit::{BUFFER, Credit};
use super::packet::{Header, Op, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::stream::{self, Attempt, HostStream};
use crate::virtio::buffers::Buffers;
use std::collections::VecDeque;
use std::net::Shutdown;

/// What the VMM's event loop learned about a stream (of `EPOLLIN`, `EPOLLOUT` and `EPOLLHUP`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There may be something to read, the stream's end included.
    pub read: bool,
    /// There may be room to write.
    pub write: bool,
    /// The other side is gone for good, in both directions.
    pub hangup: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The guest has not answered our request.
    Connecting,
    Open,
    /// Over for the guest; what it sent may still be on its way into the stream.
    Closing,
}

/// What a connection has to tell the guest. Each is told at most once per cause, so this never grows.
#[derive(Debug, Default)]
struct Pending {
    request: bool,
    reset: bool,
    credit: bool,
    /// SHUTDOWN flags, and those the guest knows of.
    shutdown: u32,
    shutdown_told: u32,
}

/// What to put into a packet for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    pub op: Op,
    pub flags: u32,
    /// Bytes of data that were put into the packet's buffer.
    pub len: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

/// One connection.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    pub guest_port: u32,
    /// Whether it stands in the muxer's line of those who have something to send.
    pub in_line: bool,
    state: State,
    credit: Credit,
    pending: Pending,
    /// What the guest sent and the stream did not take yet; at most [`BUFFER`] bytes.
    outbox: VecDeque<u8>,
    ready: Readiness,
    /// The stream takes no more.
    sink_broken: bool,
    /// The stream gives no more.
    source_ended: bool,
    /// SHUTDOWN flags of the guest.
    guest_shutdown: u32,
}

impl<S: HostStream> Connection<S> {
    /// A connection whose request is still to be sent.
    pub fn new(stream: S, guest_port: u32) -> Self {
        Self {
            stream,
            guest_port,
            in_line: false,
            state: State::Connecting,
            credit: Credit::default(),
            pending: Pending {
                request: true,
                ..Pending::default()
            },
            outbox: VecDeque::new(),
            ready: Readiness {
                read: false,
                write: true,
                hangup: false,
            },
            sink_broken: false,
            source_ended: false,
            guest_shutdown: 0,
        }
    }

    /// Whether nothing is left to do in either direction.
    pub fn is_finished(&self) -> bool {
        self.state == State::Closing && !self.pending.reset && self.outbox.is_empty()
    }

    /// Whether the guest has heard of this connection and not of its end.
    pub fn is_known_to_guest(&self) -> bool {
        self.pending.reset || (self.state != State::Closing && !self.pending.request)
    }

    /// Ends the stream.
    pub fn finish(mut self) {
        stream::finish(&mut self.stream);
    }

    /// Whether there is, or may be, something to send to the guest.
    pub fn has_outgoing(&self) -> bool {
        self.pending.reset || self.pending.request || self.has_news() || self.may_read()
    }

    fn has_news(&self) -> bool {
        self.state == State::Open
            && (self.pending.credit || self.pending.shutdown & !self.pending.shutdown_told != 0)
    }

    fn may_read(&self) -> bool {
        self.state == State::Open
            && self.ready.read
            && !self.source_ended
            && self.guest_shutdown & SHUTDOWN_RECEIVE == 0
            && self.credit.window() > 0
    }

    /// The event loop saw something.
    pub fn stream_ready(&mut self, readiness: Readiness) {
        // A hang-up shows as the end of what can be read, too.
        self.ready.read |= readiness.read || readiness.hangup;
        self.ready.write |= readiness.write;
        self.ready.hangup |= readiness.hangup;
        if readiness.hangup {
            self.lose_sink();
            if self.source_ended || self.guest_shutdown & SHUTDOWN_RECEIVE != 0 {
                self.reset();
            }
        }
        self.flush();
    }

    /// The guest sent a packet for this connection, with all of its data.
    pub fn receive(&mut self, op: Op, header: &Header, data: &Buffers<'_>) {
        self.credit.hear(header.buf_alloc, header.fwd_cnt);
        match (op, self.state) {
            (Op::Reset, _) => {
                self.pending = Pending::default();
                self.close();
            }
            (_, State::Closing) => {}
            (Op::Response, State::Connecting) => self.state = State::Open,
            (Op::Data, State::Open) => self.receive_data(data),
            (Op::Shutdown, State::Open) => self.receive_shutdown(header.flags),
            (Op::CreditUpdate, State::Open) => {}
            (Op::CreditRequest, State::Open) => self.pending.credit = true,
            // Nothing an honest guest does: a second answer, a request on our port, data in front of an answer.
            _ => self.reset(),
        }
    }

    /// Breaks the connection off; the guest is told.
    pub fn reset(&mut self) {
        if self.state != State::Closing {
            // A request the guest never saw needs no reset.
            let unknown_to_guest = self.pending.request;
            self.pending = Pending {
                reset: !unknown_to_guest,
                ..Pending::default()
            };
            self.close();
        }
    }

    fn close(&mut self) {
        self.state = State::Closing;
        self.flush();
    }

    fn receive_data(&mut self, data: &Buffers<'_>) {
        // The header's length was checked against the chain, so it fits.
        let len = data.len() as u32;
        if self.guest_shutdown & SHUTDOWN_SEND != 0 || !self.credit.receive(len) {
            return self.reset();
        }
        if self.sink_broken {
            self.credit.forward(len);
        } else if self.ready.write && self.outbox.is_empty() {
            self.write_through(data);
        } else {
            self.keep(data, 0);
        }
        self.flush();
    }

    /// Hands data to the stream without a stop, as far as it goes.
    fn write_through(&mut self, data: &Buffers<'_>) {
        let written = match stream::write_from(&mut self.stream, data.slices()) {
            Attempt::Moved(len) => len,
            Attempt::Blocked(len) => {
                self.ready.write = false;
                len
            }
            Attempt::End | Attempt::Broken => return self.lose_sink(),
        };
        self.credit.forward(written as u32);
        self.keep(data, written);
    }

    /// Puts what the stream did not take into the outbox.
    fn keep(&mut self, data: &Buffers<'_>, mut skip: usize) {
        for slice in data.slices() {
            let part = slice.len().min(skip);
            skip -= part;
            if let Ok(rest) = slice.offset(part) {
                // The guest may be writing there, so the bytes are copied out in one go.
                let mut bytes = vec![0; rest.len()];
                rest.copy_to(&mut bytes[..]);
                self.outbox.extend(bytes);
            }
        }
    }

    /// Moves what waits into the stream, as far as it goes.
    fn flush(&mut self) {
        while self.ready.write && !self.outbox.is_empty() {
            let (front, _) = self.outbox.as_slices();
            match stream::write_bytes(&mut self.stream, front) {
                Attempt::Moved(len) => {
                    self.outbox.drain(..len.min(self.outbox.len()));
                    self.credit.forward(len as u32);
                }
                Attempt::Blocked(_) => self.ready.write = false,
                Attempt::End | Attempt::Broken => self.lose_sink(),
            }
        }
        if self.outbox.is_empty() {
            self.outbox = VecDeque::new();
            if self.guest_shutdown & SHUTDOWN_SEND != 0 && !self.sink_broken {
                self.sink_broken = true;
                let _ = self.stream.shutdown(Shutdown::Write);
            }
        }
        self.pending.credit |= self.state == State::Open && self.credit.owes_update();
    }

    /// The stream takes nothing any more: drop what waits for it and tell the guest.
    fn lose_sink(&mut self) {
        self.sink_broken = true;
        self.outbox.clear();
        self.credit.forward(self.credit.buffered());
        self.pending.shutdown |= SHUTDOWN_RECEIVE;
    }

    fn receive_shutdown(&mut self, flags: u32) {
        let new = flags & SHUTDOWN_BOTH & !self.guest_shutdown;
        self.guest_shutdown |= new;
        if self.guest_shutdown == SHUTDOWN_BOTH {
            // Section 5.10.6.5: a reset confirms that both directions are over.
            return self.reset();
        }
        if new & SHUTDOWN_RECEIVE != 0 {
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        self.flush();
    }

    /// The next packet for the guest, with room for data in `buffers`. `None` if there is none after all.
    pub fn next_outgoing(&mut self, buffers: &mut Buffers<'_>) -> Option<Outgoing> {
        if std::mem::take(&mut self.pending.reset) {
            return Some(self.outgoing(Op::Reset, 0, 0));
        }
        if std::mem::take(&mut self.pending.request) {
            return Some(self.outgoing(Op::Request, 0, 0));
        }
        if self.may_read() {
            let room = self
                .credit
                .window()
                .min(u32::try_from(buffers.len()).unwrap_or(u32::MAX));
            let _ = buffers.split_off(room as usize);
            match stream::read_into(&mut self.stream, buffers.slices()) {
                Attempt::Moved(len) => return Some(self.data(len)),
                Attempt::Blocked(len) => {
                    self.ready.read = false;
                    if len > 0 {
                        return Some(self.data(len));
                    }
                }
                Attempt::End | Attempt::Broken => self.end_source(),
            }
            if std::mem::take(&mut self.pending.reset) {
                return Some(self.outgoing(Op::Reset, 0, 0));
            }
        }
        if self.state == State::Open && self.pending.shutdown & !self.pending.shutdown_told != 0 {
            self.pending.shutdown_told = self.pending.shutdown;
            return Some(self.outgoing(Op::Shutdown, self.pending.shutdown, 0));
        }
        if self.state == State::Open && self.pending.credit {
            return Some(self.outgoing(Op::CreditUpdate, 0, 0));
        }
        None
    }

    /// The stream gives nothing any more.
    fn end_source(&mut self) {
        self.source_ended = true;
        if self.ready.hangup {
            self.reset();
        } else {
            self.pending.shutdown |= SHUTDOWN_SEND;
        }
    }

    fn data(&mut self, len: usize) -> Outgoing {
        let len = len as u32;
        self.credit.send(len);
        self.outgoing(Op::Data, 0, len)
    }

    /// Every packet carries our side of the credit, so each one is an update.
    fn outgoing(&mut self, op: Op, flags: u32, len: u32) -> Outgoing {
        self.pending.credit = false;
        Outgoing {
            op,
            flags,
            len,
            buf_alloc: BUFFER,
            fwd_cnt: self.credit.announce(),
        }
    }
}
