//! The protocol of a session without I/O.

use super::error::SessionError;
use super::inbox::{Inbox, Overrun};
use super::outbox::Outbox;
use proto::frame::{Decoder, Kind, MAX_DATA};
use proto::session::{Control, Event, Exit, OutputStream, Victim, WINDOW};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// How a session ended.
pub(crate) type Finished = Result<Exit, SessionError>;

/// Sees every byte of output as it arrives, read or not.
pub(crate) type Tee = Box<dyn FnMut(OutputStream, &[u8]) + Send>;

/// Messages of one answer; a guest sends ten at most.
const MOST_TOLD: usize = 100;

/// Processes of a series; a request has no room for so many.
const MOST_STEPS: usize = 1 << 20;

/// Kills for want of memory that nobody has asked for yet; a guest that tells of more has told enough.
const MOST_KILLS: usize = 64;

/// Everything known about one session.
pub(crate) struct State {
    decoder: Decoder,
    pub(super) outbox: Outbox,
    stdin_credit: u32,
    stdin_open: bool,
    /// Input given as a whole, and how much of it is sent.
    input: Option<(Vec<u8>, usize)>,
    stdout: Inbox,
    stderr: Inbox,
    pid: Option<i32>,
    heard: bool,
    answer: Option<Answer>,
    /// What an answer of several messages brought.
    told: Vec<Event>,
    memory_kills: Vec<Option<Victim>>,
    /// Bytes that came of each stream.
    received: [usize; 2],
    steps: Vec<Step>,
    finished: Option<Finished>,
    tee: Option<Tee>,
    tap: Option<Tap>,
}

/// What the agent said to a request that is not about a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No process of the workload runs.
    Frozen,
    /// The VM is who this names.
    Identified([u8; 16]),
    /// The workload is ready.
    Ready,
    /// What was asked for is with [`State::take_told`].
    Told,
}

/// A process of a series that ended well, before the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// How.
    pub(crate) exit: Exit,
    /// How much of each stream had come by then.
    pub(crate) received: [usize; 2],
}

/// A second way out for the output, beside the inboxes.
#[derive(Debug, Default)]
pub(super) struct Tap {
    /// What came of each stream since somebody took it.
    pub(super) bytes: [Vec<u8>; 2],
    /// Streams whose credit is kept back, because somebody has not read what was taken.
    pub(super) held: [bool; 2],
}

impl Tap {
    const fn is_held(&self, stream: OutputStream) -> bool {
        self.held[stream as usize]
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("pid", &self.pid)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(tee: Option<Tee>) -> Self {
        Self {
            decoder: Decoder::new(),
            outbox: Outbox::default(),
            stdin_credit: WINDOW,
            stdin_open: true,
            input: None,
            stdout: Inbox::default(),
            stderr: Inbox::default(),
            pid: None,
            heard: false,
            answer: None,
            told: Vec::new(),
            memory_kills: Vec::new(),
            received: [0; 2],
            steps: Vec::new(),
            finished: None,
            tee,
            tap: None,
        }
    }

    /// The process id, once the program runs.
    pub(crate) const fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// What the agent answered, once it has.
    pub(crate) const fn answer(&self) -> Option<Answer> {
        self.answer
    }

    /// The messages of an answer that has more than one word.
    pub(crate) fn take_told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.told)
    }

    /// Kills for want of memory the guest has told of since this was called last.
    pub(super) fn take_memory_kills(&mut self) -> Vec<Option<Victim>> {
        std::mem::take(&mut self.memory_kills)
    }

    fn note_memory_kill(&mut self, victim: Option<Victim>) {
        if self.memory_kills.len() < MOST_KILLS {
            self.memory_kills.push(victim.map(printable));
        }
    }

    /// The processes of a series that ended well, but for the last.
    pub(super) fn take_steps(&mut self) -> Vec<Step> {
        std::mem::take(&mut self.steps)
    }

    /// How the session ended, once it has.
    pub(crate) const fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }

    pub(super) const fn inbox(&mut self, stream: OutputStream) -> &mut Inbox {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }

    /// Whether the process may still read what is written to it.
    pub(super) const fn stdin_open(&self) -> bool {
        self.stdin_open && self.finished.is_none()
    }

    /// Sends as much of `bytes` as credit and the socket allow now.
    pub(super) fn write_stdin(&mut self, socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
        let count = bytes.len().min(self.stdin_credit as usize).min(MAX_DATA);
        if count == 0 || self.outbox.is_full() {
            return Ok(0);
        }
        self.stdin_credit -= count as u32;
        self.outbox.send(socket, Kind::Stdin, &bytes[..count])?;
        Ok(count)
    }

    /// Sends what can be sent now; nothing if there is no room.
    pub(crate) fn offer(
        &mut self,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
    ) -> Option<io::Result<usize>> {
        if !self.stdin_open() {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match self.write_stdin(socket, bytes) {
            Ok(0) => None,
            Ok(count) => Some(Ok(count)),
            Err(_) => Some(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Reads what is there; nothing if there may be more later.
    pub(crate) fn take(
        &mut self,
        stream: OutputStream,
        buffer: &mut [u8],
    ) -> Option<io::Result<usize>> {
        if !self.inbox(stream).is_empty() {
            return Some(Ok(self.inbox(stream).read(buffer)));
        }
        match self.finished()? {
            Ok(_) | Err(SessionError::Guest(_)) => Some(Ok(0)),
            Err(error) => Some(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                error.clone(),
            ))),
        }
    }

    /// Whether nothing waits for the socket.
    #[cfg(feature = "tokio")]
    pub(crate) const fn has_sent_all(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Input that is sent as the process takes it, then its end.
    pub(super) fn set_input(&mut self, bytes: Vec<u8>) {
        self.input = Some((bytes, 0));
    }

    /// Sends what credit and the socket allow of the input; its end once all of it is sent.
    pub(super) fn feed(&mut self, socket: impl AsFd) -> Result<(), Errno> {
        let Some((bytes, mut sent)) = self.input.take() else {
            return Ok(());
        };
        while sent < bytes.len() && self.stdin_open() {
            match self.write_stdin(&socket, &bytes[sent..])? {
                0 => {
                    self.input = Some((bytes, sent));
                    return Ok(());
                }
                count => sent += count,
            }
        }
        self.close_stdin();
        Ok(())
    }

    /// The second way out, while it is open.
    pub(super) const fn tap(&mut self) -> &mut Option<Tap> {
        &mut self.tap
    }

    /// Queues the end of standard input.
    pub(super) fn close_stdin(&mut self) {
        if self.stdin_open() {
            self.outbox.queue(Kind::Stdin, &[]);
        }
        self.stdin_open = false;
    }

    /// Queues a control message.
    pub(super) fn control(&mut self, control: &Control) {
        if self.finished.is_none() {
            self.outbox.queue(Kind::Control, &proto::encode(control));
        }
    }

    /// Queues the credit that readers have earned.
    pub(super) fn queue_credit(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            if self.tap.as_ref().is_some_and(|tap| tap.is_held(stream)) {
                continue;
            }
            if let Some(bytes) = self.inbox(stream).take_credit() {
                self.control(&Control::Credit { stream, bytes });
            }
        }
    }

    /// Takes bytes from the guest.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        let mut decoder = std::mem::take(&mut self.decoder);
        while self.finished.is_none() {
            match decoder.next_frame() {
                Ok(Some((kind, payload))) => {
                    if let Err(error) = self.frame(kind, payload) {
                        self.finish(Err(error));
                    }
                }
                Ok(None) => break,
                Err(_) => self.finish(Err(SessionError::Protocol("malformed frame"))),
            }
        }
        self.decoder = decoder;
    }

    fn frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SessionError> {
        self.heard = true;
        match kind {
            Kind::Stdout => self.output(OutputStream::Stdout, payload),
            Kind::Stderr => self.output(OutputStream::Stderr, payload),
            Kind::Event => {
                let event = proto::decode(payload)
                    .map_err(|_| SessionError::Protocol("malformed event"))?;
                self.event(event)
            }
            Kind::Request | Kind::Stdin | Kind::Control => {
                Err(SessionError::Protocol("a frame of the host's"))
            }
        }
    }

    fn output(&mut self, stream: OutputStream, bytes: &[u8]) -> Result<(), SessionError> {
        self.inbox(stream)
            .receive(bytes)
            .map_err(|Overrun| SessionError::Protocol("output over its window"))?;
        self.received[stream as usize] += bytes.len();
        if let Some(tee) = &mut self.tee {
            tee(stream, bytes);
        }
        if let Some(tap) = &mut self.tap {
            tap.bytes[stream as usize].extend_from_slice(bytes);
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), SessionError> {
        match event {
            Event::Started { pid } => self.pid = Some(pid),
            Event::StdinCredit(bytes) => {
                self.stdin_credit = self
                    .stdin_credit
                    .checked_add(bytes)
                    .filter(|credit| *credit <= WINDOW)
                    .ok_or(SessionError::Protocol("more input credit than was spent"))?;
            }
            Event::StdinClosed => self.stdin_open = false,
            Event::StepExited(_) if self.steps.len() >= MOST_STEPS => {
                return Err(SessionError::Protocol("a series without end"));
            }
            Event::StepExited(exit) => self.steps.push(Step {
                exit,
                received: self.received,
            }),
            Event::OutOfMemory => self.note_memory_kill(None),
            Event::OutOfMemoryKill(victim) => self.note_memory_kill(Some(victim)),
            Event::Frozen => self.answer = Some(Answer::Frozen),
            Event::Identified { generation } => self.answer = Some(Answer::Identified(generation)),
            Event::Ready => self.answer = Some(Answer::Ready),
            event @ (Event::Measured(_) | Event::ProcessesEnd { .. }) => {
                self.told.push(event);
                self.answer = Some(Answer::Told);
            }
            Event::Processes(_) if self.told.len() >= MOST_TOLD => {
                return Err(SessionError::Protocol("an answer without end"));
            }
            event @ Event::Processes(_) => self.told.push(event),
            Event::Exited(exit) => self.finish(Ok(exit)),
            Event::Failed(failure) => self.finish(Err(SessionError::Guest(failure))),
        }
        Ok(())
    }

    /// The stream is over, by its end or by an error of the socket.
    pub(super) fn closed(&mut self, error: Option<Errno>) {
        let reason = match error {
            Some(Errno::CONNRESET | Errno::PIPE) | None if self.heard => SessionError::Cut,
            Some(Errno::CONNRESET | Errno::PIPE) | None => SessionError::Unreachable,
            Some(errno) => SessionError::Socket(errno),
        };
        self.finish(Err(reason));
    }

    /// The first end counts.
    pub(super) fn finish(&mut self, how: Finished) {
        if self.finished.is_none() {
            self.finished = Some(how);
            self.outbox.clear();
        }
    }
}

/// Root inside the VM could make the agent say anything, terminal control sequences too.
fn printable(victim: Victim) -> Victim {
    const LONGEST_NAME: usize = 64;
    let name = victim.name.chars().filter(|c| !c.is_control());
    Victim {
        name: name.take(LONGEST_NAME).collect(),
        pid: victim.pid,
    }
}
