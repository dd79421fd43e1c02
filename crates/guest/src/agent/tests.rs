//! A session with a real process behind it and a host in front of it, without a VM.

use super::running::{Ended, Running, Target};
use super::session::{Session, Turn};
use super::streams;
use super::token::Part;
use crate::process::{Plan, UserFiles};
use crate::reaper::exit_of;
use crate::sys::{fd, process, signal, socket, would_block};
use proptest::prelude::*;
use proto::frame::{Decoder, Header, Kind};
use proto::session::{
    Control, Event, Exit, ExitStatus, OutputStream, Process, Request, RequestBody, WINDOW,
    WindowSize,
};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// The host's side, as far as a test needs it.
struct Host {
    socket: OwnedFd,
    decoder: Decoder,
    /// Encoded frames that are still to be sent.
    unsent: Vec<u8>,
    input: Vec<u8>,
    input_closed: bool,
    credit: usize,
    output: [Vec<u8>; 2],
    exit: Option<Exit>,
}

impl Host {
    fn new(socket: OwnedFd, input: Vec<u8>) -> Self {
        Self {
            socket,
            decoder: Decoder::new(),
            unsent: Vec::new(),
            input,
            input_closed: false,
            credit: WINDOW as usize,
            output: [Vec::new(), Vec::new()],
            exit: None,
        }
    }

    fn frame(&mut self, kind: Kind, payload: &[u8]) {
        self.unsent
            .extend_from_slice(&Header::new(kind, payload.len()).to_bytes());
        self.unsent.extend_from_slice(payload);
    }

    fn request(&mut self, process: Process) {
        let request = proto::encode(&Request::new(RequestBody::Exec(process)));
        self.frame(Kind::Request, &request);
    }

    /// Sends input within its credit, at most this much in one frame.
    fn feed(&mut self, most: usize) {
        let length = most.min(self.credit).min(self.input.len());
        if length > 0 {
            let piece: Vec<u8> = self.input.drain(..length).collect();
            self.credit -= length;
            self.frame(Kind::Stdin, &piece);
        } else if self.input.is_empty() && !self.input_closed {
            self.input_closed = true;
            self.frame(Kind::Stdin, b"");
        }
    }

    /// Sends and receives what goes, at most this many bytes in, and pays for output.
    fn exchange(&mut self, most: usize) {
        if let Ok(sent) = socket::send(&self.socket, &self.unsent) {
            self.unsent.drain(..sent);
        }
        let mut buffer = vec![0; most];
        match socket::receive(&self.socket, &mut buffer) {
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) => assert!(would_block(&error)),
        }
        while let Some((kind, payload)) = self.decoder.next_frame().unwrap() {
            let payload = payload.to_vec();
            match kind {
                Kind::Stdout => self.take(OutputStream::Stdout, &payload),
                Kind::Stderr => self.take(OutputStream::Stderr, &payload),
                _ => match proto::decode(&payload).unwrap() {
                    Event::StdinCredit(bytes) => self.credit += bytes as usize,
                    Event::Exited(exit) => self.exit = Some(exit),
                    other => panic!("{other:?}"),
                },
            }
        }
    }

    fn take(&mut self, stream: OutputStream, bytes: &[u8]) {
        assert_eq!(self.exit, None, "output after the exit");
        self.output[stream as usize].extend_from_slice(bytes);
        let credit = Control::Credit {
            stream,
            bytes: bytes.len() as u32,
        };
        self.frame(Kind::Control, &proto::encode(&credit));
    }
}

fn shell(script: &str) -> Process {
    Process {
        argv: ["sh", "-c", script]
            .map(|arg| arg.as_bytes().to_vec())
            .to_vec(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        cwd: Vec::new(),
        user: Vec::new(),
        stdin: true,
        tty: None,
        timeout_ms: None,
        groups: Vec::new(),
        limits: Vec::new(),
    }
}

/// Starts what a session asks for, as the agent does.
fn start(session: &mut Session, process: Process) -> process::Pid {
    let (ends, theirs) = streams::open((&process).into()).unwrap();
    let null = fd::open(c"/dev/null", libc::O_RDWR).unwrap();
    let plan = Plan::new(process, &mut UserFiles::default(), None).unwrap();
    let child = plan.spawn(theirs.stdio(&null), None).unwrap();
    let mut running = Running::new(Target::Group(child.pid), ends, Instant::now(), None);
    running.announce();
    session.run(running);
    child.pid
}

/// Runs a script in front of pipes until its session is over.
fn run(script: &str, input: Vec<u8>, sizes: &[usize]) -> Host {
    run_process(shell(script), input, sizes)
}

/// Runs a process until its session is over. Frames and reads have the given sizes, over and over.
fn run_process(process: Process, input: Vec<u8>, sizes: &[usize]) -> Host {
    signal::block().unwrap();
    let (ours, theirs) = socket::pair().unwrap();
    fd::set_nonblocking(&ours).unwrap();
    fd::set_nonblocking(&theirs).unwrap();
    let (mut session, mut host) = (Session::new(ours), Host::new(theirs, input));
    let mut buffer = vec![0; 1 << 17];
    host.request(process);
    let mut child = None;
    for size in sizes.iter().cycle() {
        host.feed((*size).min(1 << 16));
        host.exchange(*size);
        for part in [Part::Connection, Part::Stdin, Part::Stdout, Part::Stderr] {
            session.notice(part, false);
        }
        match session.turn(&mut buffer) {
            Turn::Request(body) => match *body {
                RequestBody::Exec(process) => child = Some(start(&mut session, process)),
                other => panic!("{other:?}"),
            },
            Turn::Done if host.exit.is_some() => return host,
            Turn::Lost => panic!("the session was cut off"),
            _ => {}
        }
        if let Some(status) = child.and_then(process::status_if_ended) {
            child = None;
            let ended = Ended {
                status: exit_of(status),
                max_rss_kib: 0,
            };
            session.running().unwrap().end(ended, || false);
        }
    }
    unreachable!("sizes are repeated for ever")
}

/// Lets a session and its process get on until it is over.
fn finish(session: &mut Session, mut child: Option<process::Pid>, mut meanwhile: impl FnMut()) {
    let mut buffer = vec![0; 1 << 17];
    loop {
        meanwhile();
        for part in [Part::Connection, Part::Stdin, Part::Stdout, Part::Stderr] {
            session.notice(part, false);
        }
        match session.turn(&mut buffer) {
            Turn::Done => return,
            Turn::Lost => panic!("the session was cut off"),
            _ => {}
        }
        if let Some(status) = child.and_then(process::status_if_ended) {
            child = None;
            let ended = Ended {
                status: exit_of(status),
                max_rss_kib: 0,
            };
            session.running().unwrap().end(ended, || false);
        }
    }
}

/// A session with a running script, and its host.
fn open(script: &str) -> (Session, process::Pid, OwnedFd) {
    signal::block().unwrap();
    let (ours, theirs) = socket::pair().unwrap();
    fd::set_nonblocking(&ours).unwrap();
    fd::set_nonblocking(&theirs).unwrap();
    let mut session = Session::new(ours);
    let child = start(&mut session, shell(script));
    (session, child, theirs)
}

#[test]
fn a_process_without_a_host_runs_on_whatever_it_writes() {
    let script = "cat; yes x | head -c 3000000; yes x | head -c 3000000 >&2; exit 3";
    let (mut session, child, host) = open(script);
    // No host pays for its output or closes its input: it waits.
    session.detach();
    drop(host);
    finish(&mut session, Some(child), || ());
    let exit = session.running().unwrap().finished().unwrap();
    assert_eq!(exit.status, ExitStatus::Code(3));
}

#[test]
fn another_host_gets_what_comes_from_now_on_with_a_full_window() {
    let script = "yes x | head -c 300000; cat; yes y | head -c 300000; exit 4";
    let (mut session, child, old) = open(script);
    let mut buffer = vec![0; 1 << 17];
    // The old host takes what its credit allows and goes.
    let (mut taken, mut decoder) = (0, Decoder::new());
    while taken < WINDOW as usize {
        session.notice(Part::Stdout, false);
        session.turn(&mut buffer);
        let count = socket::receive(&old, &mut buffer).unwrap_or(0);
        decoder.push(&buffer[..count]);
        while let Some((Kind::Stdout, payload)) = decoder.next_frame().unwrap() {
            taken += payload.len();
        }
    }
    drop(old);
    let (ours, theirs) = socket::pair().unwrap();
    fd::set_nonblocking(&ours).unwrap();
    fd::set_nonblocking(&theirs).unwrap();
    session.adopt(Session::new(ours));
    let mut new = Host::new(theirs, Vec::new());
    new.request(shell("nothing: it is the request that made it the host"));
    finish(&mut session, Some(child), || new.exchange(1 << 16));
    new.exchange(1 << 16);
    let output = &new.output[0];
    let end = output.iter().position(|&byte| byte == b'y').unwrap();
    assert_eq!(end, 300_000 - WINDOW as usize);
    assert_eq!(output.len() - end, 300_000);
    assert_eq!(new.exit.unwrap().status, ExitStatus::Code(4));
}

fn numbered(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn megabytes_go_through_a_process_and_come_back_the_same() {
    let input = numbered(8 << 20);
    let host = run("cat", input.clone(), &[1 << 16]);
    assert!(
        host.output[0] == input,
        "{} bytes came back",
        host.output[0].len()
    );
    assert_eq!(host.exit.unwrap().status, ExitStatus::Code(0));
}

#[test]
fn the_streams_stay_apart_and_the_exit_comes_last() {
    let host = run("echo out; echo err >&2; exit 9", Vec::new(), &[3]);
    assert_eq!(host.output, [b"out\n".to_vec(), b"err\n".to_vec()]);
    assert_eq!(host.exit.unwrap().status, ExitStatus::Code(9));
}

#[test]
fn output_written_just_before_the_end_is_not_lost() {
    let host = run("yes x | head -c 300000; kill -9 $$", Vec::new(), &[1 << 15]);
    assert_eq!(host.output[0].len(), 300_000);
    assert_eq!(host.exit.unwrap().status, ExitStatus::Signal(9));
}

#[test]
fn a_background_child_that_holds_the_pipe_does_not_hold_the_session() {
    let host = run("sleep 60 & echo $!", Vec::new(), &[64]);
    let child: process::Pid = String::from_utf8(host.output[0].clone())
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    process::kill(child, libc::SIGKILL);
    assert_eq!(host.exit.unwrap().status, ExitStatus::Code(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_split_of_the_stream_loses_or_reorders_a_byte(
        length in 0_usize..600_000,
        sizes in prop::collection::vec(1_usize..100_000, 1..8),
    ) {
        let input = numbered(length);
        let sizes: Vec<usize> = sizes.into_iter().map(|size| size.max(length / 500)).collect();
        let host = run("tee /dev/stderr", input.clone(), &sizes);
        prop_assert!(host.output[0] == input);
        prop_assert!(host.output[1] == input);
    }
}

/// A script in front of a terminal.
fn at_terminal(script: &str) -> Process {
    Process {
        tty: Some(WindowSize {
            rows: 11,
            columns: 44,
        }),
        ..shell(script)
    }
}

#[test]
fn a_terminal_is_the_controlling_one_has_its_size_and_a_type() {
    let script = "test -t 0 -a -t 1 -a -t 2 && : </dev/tty && stty size && echo $TERM; exit 5";
    let host = run_process(at_terminal(script), Vec::new(), &[1 << 16]);
    assert_eq!(host.exit.unwrap().status, ExitStatus::Code(5));
    let screen = String::from_utf8_lossy(&host.output[0]);
    assert!(screen.contains("11 44\r\nxterm\r\n"), "{screen}");
    assert!(host.output[1].is_empty());
}

#[test]
fn the_end_of_the_input_is_typed_even_in_the_middle_of_a_line() {
    let host = run_process(
        at_terminal("stty -echo; read line; echo got $line; cat; echo over"),
        b"one\ntwo".to_vec(),
        &[3],
    );
    let screen = String::from_utf8_lossy(&host.output[0]);
    assert!(screen.contains("got one\r\n"), "{screen}");
    assert!(screen.ends_with("twoover\r\n"), "{screen}");
}

#[test]
fn what_a_process_leaves_in_its_terminal_is_not_lost() {
    let script = "stty -opost; head -c 1000003 /dev/zero | tr '\\0' x";
    let host = run_process(at_terminal(script), Vec::new(), &[1 << 16, 999]);
    let count = host.output[0].iter().filter(|&&byte| byte == b'x').count();
    assert_eq!(count, 1_000_003);
}
