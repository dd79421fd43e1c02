//! Somebody in front of the workload: the guest's side of a session, spoken by the supervisor.

use crate::session::Outbox;
use proto::frame::{Decoder, Kind, MAX_DATA};
use proto::session::{Control, Event, OutputStream, WINDOW};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much is read from the socket at once.
const READ_SIZE: usize = 68 << 10;

/// It has left, or does not keep to the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Somebody in front of the workload.
#[derive(Debug)]
pub(super) struct Attachment {
    socket: OwnedFd,
    decoder: Decoder,
    outbox: Outbox,
    lanes: [Lane; 2],
    /// Typed, and not yet taken by the workload.
    input: VecDeque<u8>,
    /// Taken by the workload, and not yet told.
    uncredited: u32,
    input_closed: bool,
    kind: Input,
    /// Nothing more is typed.
    input_ended: bool,
    end: End,
}

/// What its input is to the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// All there is: its end is that of the workload's.
    Only,
    /// More may come from others.
    OneOfMany,
}

/// How far its end has come.
#[derive(Debug)]
enum End {
    /// More output comes.
    Open,
    /// No more comes; this is to be sent behind what is left.
    Last(Option<Event>),
    /// It has been sent, as far as we are concerned.
    Sent,
}

/// One output stream on its way to it.
#[derive(Debug)]
struct Lane {
    kind: Kind,
    waiting: VecDeque<u8>,
    credit: u32,
}

impl Lane {
    const fn new(kind: Kind) -> Self {
        Self {
            kind,
            waiting: VecDeque::new(),
            credit: WINDOW,
        }
    }
}

impl Attachment {
    /// Over a stream socket.
    pub(super) const fn new(socket: OwnedFd, kind: Input) -> Self {
        Self {
            socket,
            decoder: Decoder::new(),
            outbox: Outbox::EMPTY,
            lanes: [Lane::new(Kind::Stdout), Lane::new(Kind::Stderr)],
            input: VecDeque::new(),
            uncredited: 0,
            input_closed: false,
            kind,
            input_ended: false,
            end: End::Open,
        }
    }

    /// What to watch.
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let mut flags = PollFlags::IN;
        if !self.outbox.is_empty() {
            flags |= PollFlags::OUT;
        }
        (self.socket.as_fd(), flags)
    }

    /// Takes what it sent; what concerns the workload itself comes back.
    pub(super) fn receive(&mut self) -> Result<Vec<Control>, Gone> {
        let mut wishes = Vec::new();
        let mut buffer = Vec::with_capacity(READ_SIZE);
        loop {
            buffer.clear();
            let spare = rustix::buffer::spare_capacity(&mut buffer);
            match recv(&self.socket, spare, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Gone),
                Ok(_) => self.decoder.push(&buffer),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(wishes),
                Err(_) => return Err(Gone),
            }
            while let Some((kind, payload)) = self.decoder.next_frame().map_err(|_| Gone)? {
                match kind {
                    Kind::Stdin => {
                        self.input_ended |= payload.is_empty();
                        self.input.extend(payload);
                        if self.input.len() + self.uncredited as usize > WINDOW as usize {
                            return Err(Gone);
                        }
                    }
                    Kind::Control => match proto::decode(payload).map_err(|_| Gone)? {
                        Control::Credit { stream, bytes } => {
                            let lane = &mut self.lanes[stream as usize];
                            let credit = lane.credit.checked_add(bytes);
                            lane.credit = credit.filter(|credit| *credit <= WINDOW).ok_or(Gone)?;
                        }
                        wish => wishes.push(wish),
                    },
                    Kind::Request | Kind::Stdout | Kind::Stderr | Kind::Event => return Err(Gone),
                }
            }
        }
    }

    /// Hands its input to whoever takes it, who says how much that was; `None` if nothing is taken anymore.
    pub(super) fn feed(&mut self, mut take: impl FnMut(&[u8]) -> Option<usize>) {
        while !self.input.is_empty() {
            match take(self.input.as_slices().0) {
                Some(0) => break,
                Some(count) => {
                    self.input.drain(..count);
                    self.uncredited += count as u32;
                }
                None => {
                    self.input.clear();
                    self.close_input();
                }
            }
        }
        if self.uncredited >= WINDOW / 2 {
            let bytes = std::mem::take(&mut self.uncredited);
            self.tell(&Event::StdinCredit(bytes));
        }
    }

    /// Whether the workload has taken all that it will ever get.
    pub(super) fn ends_input(&self) -> bool {
        self.kind == Input::Only && self.input_ended && self.input.is_empty()
    }

    /// Tells it that nothing it types is read.
    fn close_input(&mut self) {
        if !std::mem::replace(&mut self.input_closed, true) {
            self.tell(&Event::StdinClosed);
        }
    }

    fn tell(&mut self, event: &Event) {
        self.outbox.queue(Kind::Event, &proto::encode(event));
    }

    /// Adds output.
    pub(super) fn push(&mut self, stream: OutputStream, bytes: &[u8]) {
        self.lanes[stream as usize].waiting.extend(bytes);
    }

    /// Whether it has a window of this stream to read before more should come.
    pub(super) fn is_behind(&self, stream: OutputStream) -> bool {
        self.lanes[stream as usize].waiting.len() >= WINDOW as usize
    }

    /// Nothing comes anymore; this is how it ended, if there is more to say than that it has.
    pub(super) fn finish(&mut self, event: Option<Event>) {
        if matches!(self.end, End::Open) {
            self.end = End::Last(event);
        }
    }

    /// Whether it has been told everything.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.end, End::Sent) && self.outbox.is_empty()
    }

    /// Sends what its credit and its socket allow.
    pub(super) fn send(&mut self) -> Result<(), Gone> {
        for lane in &mut self.lanes {
            while lane.credit > 0 && !lane.waiting.is_empty() && !self.outbox.is_full() {
                let piece = lane.waiting.as_slices().0;
                let count = piece.len().min(MAX_DATA).min(lane.credit as usize);
                self.outbox.queue(lane.kind, &piece[..count]);
                lane.waiting.drain(..count);
                lane.credit -= count as u32;
                self.outbox.flush(&self.socket).map_err(|_| Gone)?;
            }
        }
        if self.lanes.iter().all(|lane| lane.waiting.is_empty())
            && let End::Last(event) = &mut self.end
        {
            let event = event.take();
            self.end = End::Sent;
            event.iter().for_each(|event| self.tell(event));
        }
        self.outbox.flush(&self.socket).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use crate::packet;
    use crate::session::{OutputReader, Session, SessionError, StdinWriter};
    use proto::session::{Exit, ExitStatus, Failure, FailureKind, WindowSize};
    use rustix::net::SocketType;
    use std::io::{Read, Write};
    use std::sync::Arc;

    fn pair() -> (Attachment, Arc<Session>) {
        let (ours, theirs) = packet::pair(SocketType::STREAM).unwrap();
        let session = Session::new(theirs).with_wake().unwrap();
        (Attachment::new(ours, Input::OneOfMany), Arc::new(session))
    }

    #[test]
    fn output_larger_than_the_window_arrives_whole_before_the_end() {
        let (mut attachment, session) = pair();
        let sent: Vec<u8> = (0..3 * WINDOW).map(|n| (n % 251) as u8).collect();
        attachment.push(OutputStream::Stdout, &sent);
        assert!(attachment.is_behind(OutputStream::Stdout));
        assert!(!attachment.is_behind(OutputStream::Stderr));
        let exit = Exit {
            status: ExitStatus::Code(3),
            duration_us: 1,
            max_rss_kib: 2,
            timed_out: false,
            out_of_memory: false,
        };
        attachment.finish(Some(Event::Exited(exit)));
        let reader = std::thread::spawn({
            let session = Arc::clone(&session);
            move || {
                let mut read = Vec::new();
                let mut stream = OutputReader::new(session, OutputStream::Stdout);
                stream.read_to_end(&mut read).unwrap();
                read
            }
        });
        while !attachment.is_over() {
            attachment.receive().unwrap();
            attachment.send().unwrap();
            let (socket, flags) = attachment.interest();
            crate::poll::any(
                &[(socket, flags)],
                Deadline::after(std::time::Duration::from_millis(20)),
            );
        }
        assert!(reader.join().unwrap() == sent);
        assert_eq!(session.wait(Deadline::NEVER).unwrap(), Ok(exit));
    }

    #[test]
    fn input_is_handed_on_and_its_end_is_not() {
        let (mut attachment, session) = pair();
        let mut writer = StdinWriter::new(Arc::clone(&session));
        writer.write_all(b"typed").unwrap();
        drop(writer);
        attachment.receive().unwrap();
        let mut taken = Vec::new();
        attachment.feed(|bytes| {
            taken.extend_from_slice(&bytes[..1]);
            Some(1)
        });
        assert_eq!(taken, b"typed");
    }

    #[test]
    fn a_size_comes_back_and_a_client_that_leaves_is_gone() {
        let (mut attachment, session) = pair();
        let size = WindowSize {
            rows: 1,
            columns: 2,
        };
        session.resize(size);
        assert_eq!(attachment.receive(), Ok(vec![Control::Resize(size)]));
        drop(session);
        assert_eq!(attachment.receive(), Err(Gone));
    }

    #[test]
    fn a_vm_that_fails_is_told_in_its_words() {
        let (mut attachment, session) = pair();
        let failure = Failure {
            kind: FailureKind::System,
            context: "the VM broke".into(),
            errno: 0,
        };
        attachment.finish(Some(Event::Failed(failure.clone())));
        attachment.send().unwrap();
        assert!(attachment.is_over());
        let ended = session.wait(Deadline::NEVER).unwrap();
        assert_eq!(ended, Err(SessionError::Guest(failure)));
    }

    #[test]
    fn who_sends_more_input_than_its_window_is_cut_off() {
        let (mut attachment, session) = pair();
        let other = session.interest().0.try_clone_to_owned().unwrap();
        let piece = proto::frame::Header::new(Kind::Stdin, MAX_DATA).to_bytes();
        let frame = [&piece[..], &vec![0; MAX_DATA]].concat();
        let mut gone = false;
        for _ in 0..=WINDOW as usize / MAX_DATA {
            rustix::io::write(&other, &frame).unwrap();
            gone |= attachment.receive() == Err(Gone);
        }
        assert!(gone);
    }
}
