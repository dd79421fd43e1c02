//! The demultiplexer against a scripted agent on the other end of a socketpair.

use super::state::State;
use super::*;
use crate::deadline::Deadline;
use proto::frame::{Decoder, Header, Kind, MAX_DATA};
use proto::session::{
    Control, Event, Exit, ExitStatus, Failure, FailureKind, OutputStream, Process, Request,
    RequestBody, WINDOW,
};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The other end: what a test makes the guest say.
struct Agent {
    stream: UnixStream,
    decoder: Decoder,
}

#[derive(Debug, PartialEq)]
enum Heard {
    Request,
    Stdin(Vec<u8>),
    Control(Control),
    Closed,
}

impl Agent {
    fn hear(&mut self) -> Heard {
        loop {
            if let Some((kind, payload)) = self.decoder.next_frame().unwrap() {
                return match kind {
                    Kind::Request => Heard::Request,
                    Kind::Stdin => Heard::Stdin(payload.to_vec()),
                    Kind::Control => Heard::Control(proto::decode(payload).unwrap()),
                    other => panic!("the host sent {other:?}"),
                };
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return Heard::Closed,
                Ok(count) => self.decoder.push(&buffer[..count]),
            }
        }
    }

    fn say(&mut self, kind: Kind, payload: &[u8]) {
        self.stream
            .write_all(&Header::new(kind, payload.len()).to_bytes())
            .unwrap();
        self.stream.write_all(payload).unwrap();
    }

    fn event(&mut self, event: &Event) {
        self.say(Kind::Event, &proto::encode(event));
    }

    fn exit(&mut self, code: i32) {
        self.event(&Event::Exited(exit(code)));
    }
}

fn exit(code: i32) -> Exit {
    Exit {
        status: ExitStatus::Code(code),
        duration_us: 1,
        max_rss_kib: 2,
        timed_out: false,
        out_of_memory: false,
    }
}

fn session_with<T: Send + 'static>(
    script: impl FnOnce(Agent) -> T + Send + 'static,
) -> (Session, JoinHandle<T>) {
    let (host, guest) = UnixStream::pair().unwrap();
    let session = Session::new(host.into()).with_wake().unwrap();
    session.request(&exec()).unwrap();
    let agent = Agent {
        stream: guest,
        decoder: Decoder::new(),
    };
    (session, thread::spawn(move || script(agent)))
}

fn exec() -> Request {
    Request::new(RequestBody::Exec(Process {
        argv: vec![b"true".to_vec()],
        env: Vec::new(),
        cwd: Vec::new(),
        user: Vec::new(),
        stdin: true,
        tty: None,
        timeout_ms: None,
        groups: Vec::new(),
        limits: Vec::new(),
    }))
}

/// A guest program that copies its input to its output, under the rules of credit.
fn cat(mut agent: Agent) {
    assert_eq!(agent.hear(), Heard::Request);
    agent.event(&Event::Started { pid: 7 });
    let mut window = WINDOW as usize;
    let mut pending = Vec::new();
    loop {
        match agent.hear() {
            Heard::Stdin(bytes) if bytes.is_empty() => break,
            Heard::Stdin(bytes) => pending.extend(bytes),
            Heard::Control(Control::Credit {
                stream: OutputStream::Stdout,
                bytes,
            }) => window += bytes as usize,
            other => panic!("{other:?}"),
        }
        let count = pending.len().min(window).min(MAX_DATA);
        if count > 0 {
            window -= count;
            let chunk: Vec<u8> = pending.drain(..count).collect();
            agent.say(Kind::Stdout, &chunk);
            agent.event(&Event::StdinCredit(count as u32));
        }
    }
    while !pending.is_empty() {
        while window == 0 {
            let Heard::Control(Control::Credit { bytes, .. }) = agent.hear() else {
                panic!("no credit")
            };
            window += bytes as usize;
        }
        let count = pending.len().min(window).min(MAX_DATA);
        window -= count;
        let chunk: Vec<u8> = pending.drain(..count).collect();
        agent.say(Kind::Stdout, &chunk);
    }
    agent.exit(0);
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn collect_gives_both_streams_and_the_exit() {
    let (session, agent) = session_with(|mut agent| {
        assert_eq!(agent.hear(), Heard::Request);
        agent.event(&Event::Started { pid: 7 });
        agent.say(Kind::Stdout, b"out");
        agent.say(Kind::Stderr, b"err");
        agent.say(Kind::Stdout, b"put");
        agent.exit(7);
    });
    let (status, collected) = collect(&session, 1 << 20, Deadline::NEVER).unwrap();
    assert_eq!(
        (status, &collected.stdout[..], &collected.stderr[..]),
        (exit(7), &b"output"[..], &b"err"[..])
    );
    agent.join().unwrap();
}

#[test]
fn sixty_four_mib_come_back_identical_through_collect() {
    let (session, agent) = session_with(cat);
    let data = noise(64 << 20);
    session.feed(data.clone());
    let (_, collected) = collect(&session, 64 << 20, Deadline::NEVER).unwrap();
    assert!(collected.stdout == data);
    agent.join().unwrap();
}

#[test]
fn sixty_four_mib_come_back_identical_through_separate_threads() {
    let (session, agent) = session_with(cat);
    let session = Arc::new(session);
    let mut stdin = StdinWriter::new(Arc::clone(&session));
    let mut stdout = OutputReader::new(Arc::clone(&session), OutputStream::Stdout);
    let waiter = thread::spawn({
        let session = Arc::clone(&session);
        move || session.wait(Deadline::NEVER).unwrap()
    });
    let data = noise(64 << 20);
    let writer = thread::spawn({
        let data = data.clone();
        move || stdin.write_all(&data).unwrap()
    });
    let mut back = Vec::new();
    stdout.read_to_end(&mut back).unwrap();
    assert!(back == data);
    writer.join().unwrap();
    assert_eq!(waiter.join().unwrap(), Ok(exit(0)));
    agent.join().unwrap();
}

#[test]
fn a_reader_that_does_not_read_stdout_does_not_stop_stderr() {
    let (session, agent) = session_with(|mut agent| {
        for _ in 0..WINDOW as usize / MAX_DATA {
            agent.say(Kind::Stdout, &[1; MAX_DATA]);
        }
        let mut window = WINDOW as usize;
        for _ in 0..64 {
            while window < MAX_DATA {
                match agent.hear() {
                    Heard::Request => {}
                    Heard::Control(Control::Credit {
                        stream: OutputStream::Stderr,
                        bytes,
                    }) => window += bytes as usize,
                    other => panic!("{other:?}"),
                }
            }
            window -= MAX_DATA;
            agent.say(Kind::Stderr, &[2; MAX_DATA]);
        }
        agent.exit(0);
    });
    let session = Arc::new(session);
    let stdout = OutputReader::new(Arc::clone(&session), OutputStream::Stdout);
    let mut stderr = OutputReader::new(Arc::clone(&session), OutputStream::Stderr);
    let mut bytes = Vec::new();
    stderr.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 64 * MAX_DATA);
    agent.join().unwrap();
    drop(stdout);
}

#[test]
fn a_dropped_reader_lets_the_process_go_on() {
    let (session, agent) = session_with(|mut agent| {
        let mut window = WINDOW as usize;
        for _ in 0..100 {
            while window < MAX_DATA {
                if let Heard::Control(Control::Credit { bytes, .. }) = agent.hear() {
                    window += bytes as usize;
                }
            }
            window -= MAX_DATA;
            agent.say(Kind::Stdout, &[1; MAX_DATA]);
        }
        agent.exit(3);
    });
    let session = Arc::new(session);
    drop(OutputReader::new(
        Arc::clone(&session),
        OutputStream::Stdout,
    ));
    assert_eq!(session.wait(Deadline::NEVER).unwrap(), Ok(exit(3)));
    agent.join().unwrap();
}

#[test]
fn input_to_a_process_that_closed_it_is_a_broken_pipe() {
    let (session, agent) = session_with(|mut agent| {
        agent.event(&Event::StdinClosed);
        while agent.hear() != Heard::Closed {}
    });
    let session = Arc::new(session);
    let mut stdin = StdinWriter::new(Arc::clone(&session));
    let error = stdin.write_all(&noise(1 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    drop((stdin, session));
    agent.join().unwrap();
}

#[test]
fn a_stream_that_closes_before_a_word_is_an_unreachable_agent() {
    let (session, agent) = session_with(drop);
    assert_eq!(
        session.wait(Deadline::NEVER).unwrap(),
        Err(SessionError::Unreachable)
    );
    agent.join().unwrap();
}

#[test]
fn a_stream_that_closes_before_the_exit_is_an_error_and_not_an_end_of_file() {
    let (session, agent) = session_with(|mut agent| {
        agent.hear();
        agent.say(Kind::Stdout, b"half");
    });
    let session = Arc::new(session);
    let mut stdout = OutputReader::new(Arc::clone(&session), OutputStream::Stdout);
    let mut bytes = Vec::new();
    assert_eq!(
        stdout.read_to_end(&mut bytes).unwrap_err().kind(),
        ErrorKind::ConnectionAborted
    );
    assert_eq!(bytes, b"half");
    assert_eq!(
        session.wait(Deadline::NEVER).unwrap(),
        Err(SessionError::Cut)
    );
    agent.join().unwrap();
}

#[test]
fn a_missing_program_is_the_guests_failure_with_exit_code_127() {
    let (session, agent) = session_with(|mut agent| {
        agent.hear();
        let failure = Failure {
            kind: FailureKind::NotFound,
            context: "exec nope".into(),
            errno: 2,
        };
        agent.event(&Event::Failed(failure));
    });
    let error = session.wait_started(Deadline::NEVER).unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 127);
    assert_eq!(error.to_string(), "exec nope: No such file or directory");
    agent.join().unwrap();
}

#[test]
fn a_guest_that_ignores_its_window_breaks_its_own_session_only() {
    let (session, agent) = session_with(|mut agent| {
        agent.hear();
        for _ in 0..=WINDOW as usize / MAX_DATA {
            agent.say(Kind::Stdout, &[0; MAX_DATA]);
        }
        while agent.hear() != Heard::Closed {}
    });
    assert_eq!(
        session.wait(Deadline::NEVER).unwrap(),
        Err(SessionError::Protocol("output over its window"))
    );
    drop(session);
    agent.join().unwrap();
}

#[test]
fn garbage_from_the_guest_is_a_protocol_error() {
    for garbage in [
        &[0, 0, 0, 0, 99][..],
        &[255, 255, 255, 255, 4],
        &[1, 0, 0, 0, 6, 200],
        &[0, 0, 0, 0, 1],
    ] {
        let (session, agent) = session_with(move |mut agent| {
            agent.hear();
            agent.stream.write_all(garbage).unwrap();
            while agent.hear() != Heard::Closed {}
        });
        assert!(
            matches!(
                session.wait(Deadline::NEVER).unwrap(),
                Err(SessionError::Protocol(_))
            ),
            "{garbage:?}"
        );
        drop(session);
        agent.join().unwrap();
    }
}

#[test]
fn more_output_than_the_limit_stops_the_process() {
    let (session, agent) = session_with(|mut agent| {
        agent.hear();
        agent.say(Kind::Stdout, &[0; 1001]);
        agent.hear()
    });
    let error = collect(&session, 1000, Deadline::NEVER).unwrap_err();
    assert_eq!(
        error,
        CollectError::Session(SessionError::OutputLimit(1000))
    );
    assert_eq!(agent.join().unwrap(), Heard::Control(Control::Signal(9)));
}

#[test]
fn a_deadline_ends_the_wait_and_the_session_lives_on() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (session, agent) = session_with(move |mut agent| {
        agent.hear();
        held.recv().unwrap();
        agent.exit(0);
    });
    assert_eq!(
        session.wait(Deadline::after(Duration::from_millis(5))),
        Err(TimedOut)
    );
    assert_eq!(session.try_wait(), None);
    release.send(()).unwrap();
    assert_eq!(session.wait(Deadline::NEVER).unwrap(), Ok(exit(0)));
    assert_eq!(session.try_wait(), Some(Ok(exit(0))));
    agent.join().unwrap();
}

#[test]
fn signals_reach_the_guest_in_order_with_input() {
    let (session, agent) =
        session_with(|mut agent| (0..4).map(|_| agent.hear()).collect::<Vec<_>>());
    let session = Arc::new(session);
    let mut stdin = StdinWriter::new(Arc::clone(&session));
    stdin.write_all(b"x").unwrap();
    session.signal(2);
    drop(stdin);
    assert_eq!(
        agent.join().unwrap(),
        [
            Heard::Request,
            Heard::Stdin(b"x".to_vec()),
            Heard::Control(Control::Signal(2)),
            Heard::Stdin(Vec::new())
        ]
    );
}

#[test]
fn a_tee_sees_all_output_of_an_external_leader() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (host, guest) = UnixStream::pair().unwrap();
    let session = Session::new(host.into())
        .with_tee(Box::new({
            let seen = Arc::clone(&seen);
            move |stream, bytes| seen.lock().unwrap().push((stream, bytes.to_vec()))
        }))
        .with_wake()
        .unwrap();
    session.lead_externally();
    session.discard(OutputStream::Stdout);
    let mut agent = Agent {
        stream: guest,
        decoder: Decoder::new(),
    };
    agent.say(Kind::Stdout, b"a");
    agent.say(Kind::Stderr, b"b");
    agent.exit(0);
    session.pump();
    assert_eq!(session.wait(Deadline::NEVER).unwrap(), Ok(exit(0)));
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (OutputStream::Stdout, b"a".to_vec()),
            (OutputStream::Stderr, b"b".to_vec())
        ]
    );
}

#[test]
fn a_request_over_the_limit_is_refused_before_it_is_sent() {
    let (host, _guest) = UnixStream::pair().unwrap();
    let session = Session::new(host.into());
    let mut request = exec();
    if let RequestBody::Exec(process) = &mut request.body {
        process.argv = vec![vec![b'x'; 5 << 20]];
    }
    assert!(matches!(
        session.request(&request),
        Err(SessionError::RequestTooLong(_))
    ));
}

proptest::proptest! {
    /// Whatever a hostile guest sends, in whatever pieces, the session ends or goes on; it never panics and
    /// never holds more than its windows.
    #[test]
    fn no_bytes_of_a_guest_make_the_host_panic(pieces: Vec<Vec<u8>>) {
        let mut state = State::new(None);
        for piece in &pieces {
            state.receive(piece);
        }
        state.queue_credit();
    }

    /// As before, but the frames are whole, so that their contents are looked at.
    #[test]
    fn no_frames_of_a_guest_make_the_host_panic(frames: Vec<(u8, Vec<u8>)>) {
        let mut state = State::new(None);
        for (kind, payload) in &frames {
            let len = u32::try_from(payload.len()).unwrap().to_le_bytes();
            state.receive(&[&len[..], &[kind % 8], payload].concat());
        }
        state.closed(None);
        proptest::prop_assert!(state.finished().is_some());
    }
}
