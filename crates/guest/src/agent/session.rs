//! One session: what the host sends is taken apart here, and what needs more than the session is handed to
//! the agent.

use super::connection::{Connection, Lost, Received};
use super::running::Running;
use super::series::Staging;
use super::token::Part;
use crate::failure::failure;
use crate::sys::{signal, socket};
use proto::frame::{Decoder, Kind};
use proto::session::{
    Control, Event, ExitStatus, Failure, FailureKind, OutputStream, Process, Request, RequestBody,
    VERSION,
};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// How many bufferfuls one session may read before others get their turn.
const READS_PER_TURN: usize = 4;

/// How a process ends after which its series goes on.
const SUCCESS: ExitStatus = ExitStatus::Code(0);

/// A session.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    decoder: Decoder,
    /// There may be something to receive.
    readable: bool,
    asked: bool,
    running: Option<Running>,
    /// Files are written before its process is started.
    staging: Option<Staging>,
    /// What is run after this one, if it ends well.
    next: VecDeque<Process>,
    /// The last frame has been queued.
    ending: bool,
    /// It is in the agent's list of sessions to look at.
    pub scheduled: bool,
}

/// What a turn of a session asks of the agent.
#[derive(Debug)]
pub enum Turn {
    /// Nothing, until something happens.
    Idle,
    /// Another turn soon.
    Again,
    /// To carry this out, and then another turn.
    Request(Box<RequestBody>),
    /// To signal the workload, and then another turn.
    SignalWorkload(i32),
    /// To let the workload go on, if this session has frozen it.
    Thaw,
    /// To let its process go on without it.
    Release,
    /// To start the next process of its series, and then another turn.
    NextStep(Box<Process>),
    /// All is said and sent.
    Done,
    /// The host is gone, or has broken the rules; then it has been told.
    Lost,
}

/// Something the host sent that it should not have.
struct Breach(Failure);

impl Session {
    /// Over an accepted connection.
    pub const fn new(socket: OwnedFd) -> Self {
        Self {
            connection: Connection::new(socket),
            decoder: Decoder::new(),
            readable: true,
            asked: false,
            running: None,
            staging: None,
            next: VecDeque::new(),
            ending: false,
            scheduled: false,
        }
    }

    /// The socket, to be registered.
    pub const fn socket(&self) -> Option<&OwnedFd> {
        self.connection.socket()
    }

    /// The process, if there is one.
    pub const fn running(&mut self) -> Option<&mut Running> {
        self.running.as_mut()
    }

    /// Whether it has made its request.
    pub const fn has_asked(&self) -> bool {
        self.asked
    }

    /// Whether it has, or had, a process.
    pub const fn has_process(&self) -> bool {
        self.running.is_some()
    }

    /// Its host belongs to an earlier life of the machine: nobody speaks to it or listens to it anymore. Its process
    /// goes on.
    pub fn detach(&mut self) {
        self.be_taken_over(Connection::to_nobody(), Decoder::new());
    }

    /// Its host leaves; its process goes on.
    pub fn leave(&mut self) {
        self.connection = Connection::to_nobody();
        self.decoder = Decoder::new();
        if let Some(running) = &mut self.running {
            running.leave();
        }
    }

    /// The host of another session takes its place, and has this session's process from now on.
    pub fn adopt(&mut self, other: Self) {
        self.be_taken_over(other.connection, other.decoder);
    }

    fn be_taken_over(&mut self, connection: Connection, decoder: Decoder) {
        self.connection = connection;
        self.decoder = decoder;
        self.readable = true;
        self.ending = false;
        if let Some(running) = &mut self.running {
            running.hand_over();
        }
    }

    /// Sends what waits to be sent. Whether the host has it all, as far as the kernel can tell.
    pub fn flush(&mut self) -> bool {
        self.connection.flush().is_ok() && self.connection.is_flushed()
    }

    /// A process now belongs to it.
    pub fn run(&mut self, mut running: Running) {
        if let Some(previous) = &self.running {
            running.inherit(previous);
        }
        self.running = Some(running);
    }

    /// These are run next, one after the other.
    pub fn queue(&mut self, processes: Vec<Process>) {
        self.next = processes.into();
    }

    /// The first or next of them.
    pub fn next_process(&mut self) -> Option<Process> {
        self.next.pop_front()
    }

    /// Nothing is read from the host until the worker has written the files.
    pub fn wait_for(&mut self, staging: Staging) {
        self.staging = Some(staging);
    }

    /// The worker that writes files.
    pub const fn staging(&self) -> Option<&Staging> {
        self.staging.as_ref()
    }

    /// The worker has ended.
    pub const fn take_staging(&mut self) -> Option<Staging> {
        self.staging.take()
    }

    /// Something happened to one of its descriptors.
    pub fn notice(&mut self, part: Part, broken: bool) {
        match (part, &mut self.running) {
            (Part::Connection, _) => self.readable = true,
            // A terminal nobody has open now may be opened again.
            (Part::Stdin, Some(running)) if broken && !running.has_terminal() => {
                if let Some(stdin) = running.stdin() {
                    let written = stdin.reader_gone();
                    if written == super::input::Written::Closed {
                        self.tell(&Event::StdinClosed);
                    }
                }
            }
            (Part::Stdout, Some(running)) => running.output(OutputStream::Stdout).notice(),
            (Part::Stderr, Some(running)) => running.output(OutputStream::Stderr).notice(),
            (Part::Stdin | Part::Stdout | Part::Stderr, _) => {}
        }
    }

    /// Tells the host something. A host that cannot be told is noticed at the next turn.
    pub fn tell(&mut self, event: &Event) {
        if self.connection.queue(event).is_err() {
            self.ending = true;
        }
    }

    /// Tells the host the last thing.
    pub fn finish(&mut self, event: &Event) {
        self.tell(event);
        self.ending = true;
    }

    /// Whether the last thing has been queued.
    pub const fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether the host has closed the connection, which may hold more to be read nevertheless.
    pub fn is_hung_up(&self) -> bool {
        self.socket().is_some_and(socket::is_hung_up)
    }

    /// Says that nothing more comes, but stays open until the host closes.
    pub fn close_sending(&self) {
        self.connection.finish();
    }

    /// Does what can be done without waiting.
    pub fn turn(&mut self, buffer: &mut [u8]) -> Turn {
        if self.staging.is_some() {
            // What the host sends is for the process that there will be.
            return if self.is_hung_up() {
                Turn::Lost
            } else {
                Turn::Idle
            };
        }
        match self.listen(buffer) {
            Ok(Turn::Idle) => {}
            Ok(turn) => return turn,
            Err(Lost) => return Turn::Lost,
        }
        match self.speak(buffer) {
            Ok(_) if self.is_to_go_on() => match self.next_step() {
                Some(process) => Turn::NextStep(Box::new(process)),
                None => Turn::Again,
            },
            Ok(true) => Turn::Again,
            Ok(false) if self.readable => Turn::Again,
            Ok(false) if self.ending && self.connection.is_flushed() => Turn::Done,
            Ok(false) => Turn::Idle,
            Err(Lost) => Turn::Lost,
        }
    }

    /// Whether a process of a series has ended well and is not the last.
    fn is_to_go_on(&self) -> bool {
        let finished = self.running.as_ref().and_then(Running::finished);
        !self.ending && !self.next.is_empty() && finished.is_some()
    }

    fn next_step(&mut self) -> Option<Process> {
        let exit = self.running.as_ref().and_then(Running::finished)?;
        self.tell(&Event::StepExited(exit));
        self.next.pop_front()
    }

    /// Takes what the host sent. After the last frame only the host's leaving is of interest.
    fn listen(&mut self, buffer: &mut [u8]) -> Result<Turn, Lost> {
        for _ in 0..READS_PER_TURN {
            if !self.ending {
                match self.take_frames() {
                    Ok(Turn::Idle) => {}
                    Ok(turn) => return Ok(turn),
                    Err(Breach(failure)) => {
                        self.finish(&Event::Failed(failure));
                        let _ = self.connection.flush();
                        return Err(Lost);
                    }
                }
            }
            if !self.readable {
                return Ok(Turn::Idle);
            }
            match self.connection.receive(buffer)? {
                Received::Bytes(count) if !self.ending => self.decoder.push(&buffer[..count]),
                Received::Bytes(_) => {}
                Received::Nothing => self.readable = false,
            }
        }
        Ok(Turn::Idle)
    }

    fn take_frames(&mut self) -> Result<Turn, Breach> {
        loop {
            let Some((kind, payload)) = self
                .decoder
                .next_frame()
                .map_err(|error| breach(&error.to_string()))?
            else {
                return Ok(Turn::Idle);
            };
            match kind {
                Kind::Request => {
                    let body = request(payload, self.asked)?;
                    self.asked = true;
                    return Ok(Turn::Request(Box::new(body)));
                }
                _ if !self.asked => return Err(breach("a session starts with a request")),
                Kind::Stdin => {
                    let stdin = self.running.as_mut().and_then(Running::stdin);
                    if stdin.is_some_and(|stdin| stdin.push(payload).is_err()) {
                        return Err(breach("more standard input than there was credit for"));
                    }
                }
                Kind::Control => {
                    let control =
                        proto::decode(payload).map_err(|error| breach(&error.to_string()))?;
                    if let Some(turn) = self.control(control)? {
                        return Ok(turn);
                    }
                }
                Kind::Stdout | Kind::Stderr | Kind::Event => {
                    return Err(breach("a frame of a kind that only the guest sends"));
                }
            }
        }
    }

    fn control(&mut self, control: Control) -> Result<Option<Turn>, Breach> {
        let Some(running) = &mut self.running else {
            return Ok((control == Control::Thaw).then_some(Turn::Thaw));
        };
        match control {
            Control::Thaw => Err(breach("this session has frozen nothing")),
            Control::Signal(signal) if !(1..=signal::MAX).contains(&signal) => {
                Err(breach(&format!("there is no signal {signal}")))
            }
            Control::Signal(signal) if running.signal(signal) => Ok(None),
            Control::Signal(signal) => Ok(Some(Turn::SignalWorkload(signal))),
            Control::Resize(size) if running.resize(size) => Ok(None),
            Control::Resize(_) => Err(breach("this process has no terminal to resize")),
            Control::Release => Ok(Some(Turn::Release)),
            Control::Credit { stream, bytes } => match running.output(stream).pay(bytes) {
                Ok(()) => Ok(None),
                Err(_) => Err(breach("more credit returned than was spent")),
            },
        }
    }

    /// Sends what there is. Whether there is more to send at once.
    fn speak(&mut self, buffer: &mut [u8]) -> Result<bool, Lost> {
        let mut more = false;
        if let Some(running) = &mut self.running {
            more = running.move_bytes(&mut self.connection, buffer)?;
            let last = self.next.is_empty();
            let finished = running.finished().filter(|_| !self.ending);
            if let Some(exit) = finished.filter(|exit| last || exit.status != SUCCESS) {
                self.finish(&Event::Exited(exit));
            }
        }
        self.connection.flush()?;
        Ok(more)
    }
}

fn request(payload: &[u8], asked: bool) -> Result<RequestBody, Breach> {
    if asked {
        return Err(breach("a session carries one request"));
    }
    // The version stands first, so that a request of another version is told apart from a damaged one.
    match proto::decode::<Request>(payload) {
        Ok(request) if request.version == VERSION => Ok(request.body),
        Ok(request) => Err(Breach(version(request.version))),
        Err(error) => match first_number(payload) {
            Some(other) if other != VERSION => Err(Breach(version(other))),
            _ => Err(breach(&error.to_string())),
        },
    }
}

/// A variable-length integer at the start of a message: seven bits to a byte, lowest first.
fn first_number(payload: &[u8]) -> Option<u16> {
    let mut number = 0_u32;
    for (at, byte) in payload.iter().take(3).enumerate() {
        number |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return u16::try_from(number).ok();
        }
    }
    None
}

fn version(theirs: u16) -> Failure {
    failure(
        FailureKind::Version,
        format!(
            "the guest speaks version {VERSION} of the session protocol, the host {theirs}: reinstall both"
        ),
    )
}

fn breach(what: &str) -> Breach {
    Breach(failure(FailureKind::Request, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd::set_nonblocking;
    use proptest::prelude::*;
    use proto::frame::Header;

    fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
        [&Header::new(kind, payload.len()).to_bytes()[..], payload].concat()
    }

    fn shutdown() -> Vec<u8> {
        frame(
            Kind::Request,
            &proto::encode(&Request::new(RequestBody::Shutdown {
                signal: 15,
                grace_ms: 1,
            })),
        )
    }

    fn open() -> (Session, OwnedFd) {
        let (ours, theirs) = socket::pair().unwrap();
        set_nonblocking(&ours).unwrap();
        (Session::new(ours), theirs)
    }

    /// What the host was told last, after sending these bytes.
    fn answer(bytes: &[u8]) -> Option<Failure> {
        let (mut session, host) = open();
        socket::send(&host, bytes).unwrap();
        let mut buffer = vec![0; 1 << 17];
        while !matches!(session.turn(&mut buffer), Turn::Idle | Turn::Lost) {}
        let count = socket::receive(&host, &mut buffer).ok()?;
        let mut decoder = Decoder::new();
        decoder.push(&buffer[..count]);
        match proto::decode(decoder.next_frame().unwrap()?.1).unwrap() {
            Event::Failed(failure) => Some(failure),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_reaches_the_agent_once() {
        let (mut session, host) = open();
        socket::send(&host, &shutdown()).unwrap();
        let mut buffer = vec![0; 1 << 17];
        let Turn::Request(body) = session.turn(&mut buffer) else {
            panic!("no request")
        };
        assert_eq!(
            *body,
            RequestBody::Shutdown {
                signal: 15,
                grace_ms: 1
            }
        );
        assert!(matches!(session.turn(&mut buffer), Turn::Idle));
        drop(host);
        session.notice(Part::Connection, false);
        assert!(matches!(session.turn(&mut buffer), Turn::Lost));
    }

    #[test]
    fn breaches_end_the_session_and_say_why() {
        let second = [shutdown(), shutdown()].concat();
        let cases: [(&[u8], &str); 6] = [
            (&frame(Kind::Stdin, b"x"), "a session starts with a request"),
            (&second, "a session carries one request"),
            (&[0, 0, 0, 0, 77], "unknown frame kind 77"),
            (&frame(Kind::Request, &[3, 99]), "malformed"),
            (
                &[shutdown(), frame(Kind::Stdout, b"x")].concat(),
                "only the guest sends",
            ),
            (
                &[shutdown(), frame(Kind::Control, b"\xff")].concat(),
                "malformed",
            ),
        ];
        for (bytes, says) in cases {
            let failure = answer(bytes).unwrap();
            assert_eq!(failure.kind, FailureKind::Request);
            assert!(
                failure.context.contains(says),
                "{} / {says}",
                failure.context
            );
        }
    }

    #[test]
    fn another_version_is_told_apart_whatever_follows_it() {
        for payload in [
            &[2, 99, 1, 2, 3][..],
            &proto::encode(&(300_u16, "something else")),
        ] {
            assert_eq!(
                answer(&frame(Kind::Request, payload)).unwrap().kind,
                FailureKind::Version
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hang(bytes: Vec<u8>) {
            answer(&bytes);
        }
    }
}
