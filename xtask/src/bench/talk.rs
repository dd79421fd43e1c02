//! Talking to the guest's agent over whatever stream a VMM gives: what the library does, without the library, so that
//! one host side measures different VMMs.

use anyhow::{Context, Result, bail};
use proto::frame::{HEADER_LEN, Header, Kind, MAX_DATA};
use proto::session::{
    Control, Event, ExitStatus, Machine, OutputStream, Process, Request, RequestBody, Upper, WINDOW,
};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

/// No answer of a guest takes longer unless it is stuck: a bound for the bench, not part of any figure.
const PATIENCE: Duration = Duration::from_secs(120);
/// Memory for what the guest writes; it writes nothing of note.
const UPPER_BYTES: u64 = 64 << 20;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Sets the machine up over the file system on its first disk, without a workload.
pub fn prepare(stream: UnixStream) -> Result<()> {
    let mut entropy = vec![0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut entropy)?;
    let machine = Machine {
        hostname: b"bench".to_vec(),
        upper: Upper::Tmpfs(UPPER_BYTES),
        resolv_conf: None,
        hosts: Vec::new(),
        shm_size: 64 << 20,
        ipv6: false,
        network: None,
        keep_on_failure: false,
        extras: proto::mounts::Extras::default(),
        memory_limit: None,
        pids_limit: None,
        cpu_limit: None,
        wall_clock_ns: SystemTime::UNIX_EPOCH.elapsed()?.as_nanos() as u64,
        entropy,
    };
    let mut talk = Talk::begin(stream, RequestBody::Prepare(machine))?;
    let mut nothing = |_: &[u8]| {};
    loop {
        match talk.next(&mut nothing)? {
            Some(Event::Started { .. }) => return Ok(()),
            Some(other) => bail!("the guest was not set up: {other:?}"),
            None => {}
        }
    }
}

/// Runs a program to its good end; `sink` gets its standard output.
pub fn exec(stream: UnixStream, argv: &[&str], sink: &mut dyn FnMut(&[u8])) -> Result<()> {
    let process = Process {
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: vec![PATH.as_bytes().to_vec()],
        cwd: Vec::new(),
        user: Vec::new(),
        stdin: false,
        tty: None,
        timeout_ms: None,
        groups: Vec::new(),
        limits: Vec::new(),
    };
    let mut talk = Talk::begin(stream, RequestBody::Exec(process))?;
    loop {
        match talk.next(sink)? {
            Some(Event::Exited(exit)) if exit.status == ExitStatus::Code(0) => return Ok(()),
            Some(Event::Exited(exit)) => {
                let said = String::from_utf8_lossy(&talk.stderr);
                bail!("{argv:?} ended with {:?}: {}", exit.status, said.trim());
            }
            Some(Event::Failed(failure)) => bail!("{}: errno {}", failure.context, failure.errno),
            _ => {}
        }
    }
}

/// One session.
struct Talk {
    stream: BufReader<UnixStream>,
    owed: u32,
    stderr: Vec<u8>,
    payload: Vec<u8>,
}

impl Talk {
    fn begin(stream: UnixStream, body: RequestBody) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut talk = Self {
            stream: BufReader::with_capacity(MAX_DATA + HEADER_LEN, stream),
            owed: 0,
            stderr: Vec::new(),
            payload: Vec::new(),
        };
        talk.send(Kind::Request, &proto::encode(&Request::new(body)))?;
        Ok(talk)
    }

    fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<()> {
        let header = Header::new(kind, payload.len()).to_bytes();
        let frame = [&header[..], payload].concat();
        self.stream
            .get_mut()
            .write_all(&frame)
            .context("talk to the agent")
    }

    /// Takes a frame; output goes into the sink and is paid for, in steps of a quarter window as the library does it.
    fn next(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<Option<Event>> {
        let mut header = [0; HEADER_LEN];
        self.stream
            .read_exact(&mut header)
            .context("the agent has gone silent")?;
        let header = Header::parse(header)?;
        self.payload.resize(header.len, 0);
        self.stream.read_exact(&mut self.payload)?;
        match header.kind {
            Kind::Stdout => {
                sink(&self.payload);
                self.owed += header.len as u32;
                if self.owed >= WINDOW / 4 {
                    let bytes = std::mem::take(&mut self.owed);
                    let stream = OutputStream::Stdout;
                    let credit = proto::encode(&Control::Credit { stream, bytes });
                    // The agent may have said everything and closed; what it said is still to be read.
                    drop(self.send(Kind::Control, &credit));
                }
                Ok(None)
            }
            Kind::Stderr => {
                self.stderr.extend_from_slice(&self.payload);
                Ok(None)
            }
            Kind::Event => Ok(Some(proto::decode(&self.payload)?)),
            Kind::Request | Kind::Stdin | Kind::Control => bail!("the agent sent a {header:?}"),
        }
    }
}
