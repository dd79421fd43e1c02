//! The host's end of a session: bytes in, frames out, never waiting.

use crate::sys::{socket, would_block};
use proto::frame::{HEADER_LEN, Header, Kind};
use proto::session::Event;
use std::os::fd::OwnedFd;

/// Frames that wait in us for a host that does not read. Data is only taken from a pipe when nothing waits,
/// so what can pile up is small answers to a host that sends and never reads: such a one is cut off.
const MAX_WAITING: usize = 1 << 20;

/// The host is gone, or behaves so badly that it might as well be.
#[derive(Debug, PartialEq, Eq)]
pub struct Lost;

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
}

/// A connection with what could not be sent yet.
#[derive(Debug)]
pub struct Connection {
    /// `None`: nobody listens anymore, and what is sent goes nowhere.
    socket: Option<OwnedFd>,
    waiting: Vec<u8>,
    sent: usize,
}

impl Connection {
    /// Over a socket.
    pub const fn new(socket: OwnedFd) -> Self {
        Self {
            socket: Some(socket),
            waiting: Vec::new(),
            sent: 0,
        }
    }

    /// To nobody: takes everything and is never lost.
    pub const fn to_nobody() -> Self {
        Self {
            socket: None,
            waiting: Vec::new(),
            sent: 0,
        }
    }

    /// Whether nobody is there to listen.
    pub const fn is_to_nobody(&self) -> bool {
        self.socket.is_none()
    }

    /// The socket, to be registered.
    pub const fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// Whether everything has been handed to the kernel.
    pub const fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds an event to what is sent with the next flush.
    pub fn queue(&mut self, event: &Event) -> Result<(), Lost> {
        if self.is_to_nobody() {
            return Ok(());
        }
        let payload = proto::encode(event);
        self.waiting
            .extend_from_slice(&Header::new(Kind::Event, payload.len()).to_bytes());
        self.waiting.extend_from_slice(&payload);
        if self.waiting.len() - self.sent > MAX_WAITING {
            Err(Lost)
        } else {
            Ok(())
        }
    }

    /// Sends a frame whose payload stands in `frame` behind room for its header. Must be flushed before.
    pub fn send_data(&mut self, kind: Kind, frame: &mut [u8]) -> Result<(), Lost> {
        let header = Header::new(kind, frame.len() - HEADER_LEN).to_bytes();
        frame[..HEADER_LEN].copy_from_slice(&header);
        if let Some(socket) = &self.socket {
            let sent = send_all(socket, frame)?;
            self.waiting.extend_from_slice(&frame[sent..]);
        }
        Ok(())
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Result<(), Lost> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        self.sent += send_all(socket, &self.waiting[self.sent..])?;
        if self.sent == self.waiting.len() {
            self.waiting.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Takes what has arrived, at most a bufferful.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Received, Lost> {
        let Some(socket) = &self.socket else {
            return Ok(Received::Nothing);
        };
        match socket::receive(socket, buffer) {
            Ok(0) => Err(Lost),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(error) if would_block(&error) => Ok(Received::Nothing),
            Err(_) => Err(Lost),
        }
    }

    /// Tells the host that nothing more comes.
    pub fn finish(&self) {
        if let Some(socket) = &self.socket {
            socket::finish_sending(socket);
        }
    }
}

/// Sends until the kernel takes no more.
fn send_all(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Lost> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket::send(socket, &bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if would_block(&error) => break,
            Err(_) => return Err(Lost),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::set_nonblocking;
    use proto::frame::Decoder;

    #[test]
    fn frames_arrive_whole_and_in_order_through_a_full_socket() {
        let (ours, theirs) = socket::pair().unwrap();
        set_nonblocking(&ours).unwrap();
        let mut connection = Connection::new(ours);
        connection.queue(&Event::StdinClosed).unwrap();
        connection.flush().unwrap();
        let (mut decoder, mut buffer, mut seen) = (Decoder::new(), vec![0; 1 << 16], Vec::new());
        let mut next = 0_u8;
        while seen.len() < 100 {
            while connection.is_flushed() {
                let mut frame = vec![next; HEADER_LEN + 30_000];
                connection.send_data(Kind::Stdout, &mut frame).unwrap();
                next = next.wrapping_add(1);
            }
            let count = socket::receive(&theirs, &mut buffer).unwrap();
            decoder.push(&buffer[..count]);
            while let Some((kind, payload)) = decoder.next_frame().unwrap() {
                seen.push((kind, payload.to_vec()));
            }
            connection.flush().unwrap();
        }
        assert_eq!(seen[0].0, Kind::Event);
        for (at, (kind, payload)) in seen[1..].iter().enumerate() {
            assert_eq!((*kind, payload), (Kind::Stdout, &vec![at as u8; 30_000]));
        }
    }

    #[test]
    fn a_host_that_never_reads_is_cut_off() {
        let (ours, _theirs) = socket::pair().unwrap();
        let mut connection = Connection::new(ours);
        let endless = std::iter::repeat_with(|| connection.queue(&Event::StdinCredit(1)));
        assert!(endless.take(1 << 20).any(|result| result == Err(Lost)));
    }

    #[test]
    fn nobody_takes_everything() {
        let mut connection = Connection::to_nobody();
        for _ in 0..MAX_WAITING {
            connection.queue(&Event::StdinClosed).unwrap();
        }
        let mut frame = vec![0; HEADER_LEN + 30_000];
        connection.send_data(Kind::Stdout, &mut frame).unwrap();
        connection.flush().unwrap();
        assert!(connection.is_flushed());
        assert_eq!(connection.receive(&mut [0; 8]), Ok(Received::Nothing));
    }

    #[test]
    fn a_closed_connection_is_lost() {
        let (ours, theirs) = socket::pair().unwrap();
        let mut connection = Connection::new(ours);
        assert_eq!(connection.receive(&mut [0; 8]), Ok(Received::Nothing));
        drop(theirs);
        assert_eq!(connection.receive(&mut [0; 8]), Err(Lost));
        connection.queue(&Event::StdinClosed).unwrap();
        assert_eq!(connection.flush(), Err(Lost));
    }
}
