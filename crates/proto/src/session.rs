//! One session is one process in the guest: the host opens a vsock stream to [`crate::guest::AGENT_PORT`],
//! sends one [`Request`], and the stream carries that process's streams, signals and end.
//!
//! ```text
//! host                               guest
//!  | Request(Exec | Start)  ------->   |
//!  | Stdin data, Control    ------->   |
//!  | <------- Event(Started)           |
//!  | <------- Stdout, Stderr, Event(Credit)
//!  | <------- Event(Exited)            |  then the guest closes
//! ```
//!
//! The host does not wait for `Started` before sending more: an exec costs one round trip.
//!
//! **Credit.** Each of stdin, stdout and stderr has its own window of [`WINDOW`] bytes. A sender spends it
//! and stops at zero; the receiver returns what it has consumed with `Credit`. So a slow reader of stdout
//! holds back stdout alone.

use crate::files::FileRequest;
use crate::mounts::Extras;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Version of this conversation; a guest refuses any other with [`FailureKind::Version`].
pub const VERSION: u16 = 3;

/// Bytes a sender may have unacknowledged on each stream when a session starts.
pub const WINDOW: u32 = 256 << 10;

/// Bytes the guest passes on unread: any value but NUL survives.
pub type Bytes = Vec<u8>;

/// The first frame of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the host.
    pub version: u16,
    /// What is asked.
    pub body: RequestBody,
}

impl Request {
    /// A request in this version.
    pub const fn new(body: RequestBody) -> Self {
        Self {
            version: VERSION,
            body,
        }
    }
}

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    /// Set the machine up and start the workload. Once per VM; its session is the VM's main session.
    Start(Start),
    /// Set the machine up without a workload: the VM stays until it is stopped. Once per VM.
    Prepare(Machine),
    /// Run a further process inside.
    Exec(Process),
    /// End the workload (its stop signal, then KILL after the grace period), sync and power off.
    Shutdown {
        /// Signal to send to the workload first.
        signal: i32,
        /// Milliseconds until KILL.
        grace_ms: u64,
    },
    /// Stop every process of the workload before the VM is saved or forked; answered by [`Event::Frozen`]. They
    /// go on after [`Control::Thaw`] on the same session, or in a copy after [`RequestBody::Reidentify`]: the end
    /// of this session alone thaws nothing, because in a copy it ends before the copy has a new identity.
    Freeze(Freeze),
    /// Become another machine: the first request to a VM that was restored from a snapshot or forked. Its session is
    /// the VM's new main session: it carries the output and the end of the workload, whose standard input is at its
    /// end. Other sessions of the old life are forgotten; their processes go on, and nobody reads their output.
    Reidentify(Identity),
    /// Look inside until the workload is ready; answered by [`Event::Ready`], which is the last frame of the session.
    AwaitReady(Awaited),
    /// Do something with files of the VM, in a process of our own.
    Files(FileRequest),
    /// Tell what the workload uses; answered by [`Event::Measured`], which is the last frame of the session.
    Measure,
    /// Tell what runs; answered by any number of [`Event::Processes`] and [`Event::ProcessesEnd`].
    ListProcesses,
    /// Write files, then run processes.
    Series(Series),
}

/// Files and processes, each after the one before. Ends with the first that fails, or with the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Written before the first process is started; they belong to its user.
    pub files: Vec<StagedFile>,
    /// At least one. What each of them writes comes between its [`Event::Started`] and its [`Event::StepExited`], or
    /// [`Event::Exited`] if it is the last that runs. Standard input, a terminal and a timeout are each one's own.
    pub processes: Vec<Process>,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// The file; what is there is replaced.
    pub path: Bytes,
    /// Permissions.
    pub mode: u32,
    /// What is to be in it.
    pub contents: Bytes,
}

/// What shows from inside that a workload is ready, without a program of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaited {
    /// A socket listens on this TCP port, on whatever address.
    Listen(u16),
    /// Something has this absolute path.
    File(Bytes),
}

/// How to prepare for being saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// Write dirty pages back and give clean page cache away, so that there is less to save.
    pub drop_caches: bool,
}

/// What must differ between two copies of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Names this life of the VM; the guest acknowledges it.
    pub generation: [u8; 16],
    /// Host name, also written to /etc/hostname and /etc/hosts.
    pub hostname: Bytes,
    /// The host's wall clock at the moment of sending: nanoseconds since 1970.
    pub wall_clock_ns: u64,
    /// Fresh randomness for the kernel's pool, from the host's.
    pub entropy: Bytes,
    /// Its place on the network, if it has one.
    pub network: Option<Network>,
}

/// A machine's place on the network: one neighbor, the gateway, which is also the name server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Hardware address.
    pub mac: [u8; 6],
    /// IPv4: address, length of the link's prefix, gateway.
    pub v4: ([u8; 4], u8, [u8; 4]),
    /// The same in IPv6, if the machine has it.
    pub v6: Option<([u8; 16], u8, [u8; 16])>,
}

/// Everything the guest learns after the template point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The machine around the workload.
    pub machine: Machine,
    /// The workload.
    pub process: Process,
    /// Whether our init is PID 1 of the workload's PID namespace (Docker's `--init`), or the workload is.
    pub init: bool,
    /// Stay up after the workload ended, for inspection; otherwise the VM powers off.
    pub stay: bool,
}

/// The machine around a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name, also written to /etc/hostname and /etc/hosts.
    pub hostname: Bytes,
    /// What the writable layer is made of.
    pub upper: Upper,
    /// The whole of /etc/resolv.conf, or `None` to leave the image's own.
    pub resolv_conf: Option<Bytes>,
    /// Extra lines for /etc/hosts: address and name.
    pub hosts: Vec<(Bytes, Bytes)>,
    /// Size of /dev/shm in bytes.
    pub shm_size: u64,
    /// Whether IPv6 is enabled.
    pub ipv6: bool,
    /// Its place on the network, or `None` for none.
    pub network: Option<Network>,
    /// Keep the machine for inspection when the workload cannot be started or something of ours fails; otherwise it
    /// powers off when the host has heard why.
    pub keep_on_failure: bool,
    /// What the machine has besides its image.
    pub extras: Extras,
    /// Memory the workload may use in bytes (`memory.max` of its cgroup), or `None` for all there is.
    pub memory_limit: Option<u64>,
    /// Processes and threads the workload may have, or `None` for as many as it likes.
    pub pids_limit: Option<u64>,
    /// CPU time the workload may have in thousandths of one CPU, or `None` for all there is.
    pub cpu_limit: Option<u32>,
    /// The host's wall clock at the moment of sending: nanoseconds since 1970.
    pub wall_clock_ns: u64,
    /// Fresh randomness for the kernel's pool, from the host's.
    pub entropy: Bytes,
}

/// The writable layer above the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upper {
    /// The ext4 disk in the scratch slot.
    Disk,
    /// A tmpfs of this many bytes.
    Tmpfs(u64),
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Program and arguments; the program is looked up in the PATH of `env` unless it has a slash.
    pub argv: Vec<Bytes>,
    /// The whole environment as `KEY=VALUE`. The guest adds HOME, USER and PATH only where missing.
    pub env: Vec<Bytes>,
    /// Working directory; empty means `/`. A missing one is created.
    pub cwd: Bytes,
    /// `user`, `uid`, `user:group`, `uid:gid` and mixtures, as in an image's config; empty means root.
    pub user: Bytes,
    /// Whether standard input is a stream from the host; otherwise it is /dev/null.
    pub stdin: bool,
    /// A terminal of this size instead of three pipes.
    pub tty: Option<WindowSize>,
    /// Kill the process group after this many milliseconds.
    pub timeout_ms: Option<u64>,
    /// Further supplementary groups, by name or id.
    pub groups: Vec<Bytes>,
    /// Limits of the process and of what it starts.
    pub limits: Vec<ResourceLimit>,
}

/// The limit of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// Of what.
    pub resource: Resource,
    /// What counts; [`u64::MAX`] for none.
    pub soft: u64,
    /// What it may be raised to; [`u64::MAX`] for none.
    pub hard: u64,
}

/// What setrlimit(2) limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Size of a core file in bytes.
    Core,
    /// CPU time in seconds.
    Cpu,
    /// Data segment in bytes.
    Data,
    /// Size of a file in bytes.
    FileSize,
    /// Number of file locks.
    Locks,
    /// Memory that is locked, in bytes.
    LockedMemory,
    /// Bytes in POSIX message queues.
    MessageQueues,
    /// 20 minus the lowest nice value.
    Nice,
    /// Number of open files.
    Files,
    /// Number of processes of the user.
    Processes,
    /// Resident memory, which Linux does not hold to.
    ResidentMemory,
    /// Highest real-time priority.
    RealTimePriority,
    /// Microseconds of real-time CPU without a system call.
    RealTimeTimeout,
    /// Number of signals that wait.
    PendingSignals,
    /// Stack in bytes.
    Stack,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Host to guest, at any time after the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A signal for the process group (for the main session: to the workload).
    Signal(i32),
    /// The terminal changed size.
    Resize(WindowSize),
    /// On the session of a [`RequestBody::Freeze`]: the workload may go on. The session ends.
    Thaw,
    /// The host consumed this many bytes of a guest stream.
    Credit {
        /// Which one.
        stream: OutputStream,
        /// How many bytes.
        bytes: u32,
    },
    /// On the session of a [`RequestBody::Exec`]: the process goes on without a host, and what it writes goes nowhere.
    /// The session ends.
    Release,
}

/// The guest's two streams towards the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputStream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Guest to host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The program runs; `pid` is as the workload sees it.
    Started {
        /// Process id in the workload's namespace.
        pid: i32,
    },
    /// The guest consumed this many bytes of standard input.
    StdinCredit(u32),
    /// The process closed its standard input: what is still sent is dropped.
    StdinClosed,
    /// Answers [`RequestBody::Freeze`]: no process of the workload runs.
    Frozen,
    /// Answers [`RequestBody::Reidentify`]: everything is as the new identity says, and the workload goes on.
    Identified {
        /// Of the [`Identity`].
        generation: [u8; 16],
    },
    /// The kernel killed a process of the workload because memory ran out, and nobody knows which.
    OutOfMemory,
    /// The process ended and all of its output has been sent. The last frame of a session.
    Exited(Exit),
    /// The request could not be carried out. The last frame of a session.
    Failed(Failure),
    /// Answers [`RequestBody::AwaitReady`]. The last frame of a session.
    Ready,
    /// Answers [`RequestBody::Measure`]. The last frame of a session.
    Measured(Usage),
    /// Some processes, in answer to [`RequestBody::ListProcesses`].
    Processes(Vec<ProcessInfo>),
    /// These were all. The last frame of a session.
    ProcessesEnd {
        /// How many more there are than were listed.
        omitted: u32,
    },
    /// As [`Event::OutOfMemory`], of a process that is known.
    OutOfMemoryKill(Victim),
    /// A process of a [`Series`] ended with code 0, all of its output has been sent, and the next one is started.
    StepExited(Exit),
}

/// A process that the kernel killed because memory ran out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// What it called itself: 15 bytes at most.
    pub name: String,
    /// Its id as the workload saw it, if it was there long enough to be asked for it.
    pub pid: Option<i32>,
}

/// What the workload uses, as its cgroup tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time so far in microseconds.
    pub cpu_us: u64,
    /// Memory in bytes, without page cache that could go at once.
    pub memory: u64,
    /// The most it may have.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
}

/// A process as the workload's /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Whom it runs as.
    pub uid: u32,
    /// The kernel's letter for its state.
    pub state: u8,
    /// Threads.
    pub threads: u32,
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Program and arguments with blanks between them, or the name in brackets; cut off where it is long.
    pub command: Bytes,
}

/// How a process ended, and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Code or signal.
    pub status: ExitStatus,
    /// Wall time from start to end, in microseconds, on the guest's monotonic clock.
    pub duration_us: u64,
    /// Peak resident memory in KiB (`ru_maxrss`).
    pub max_rss_kib: u64,
    /// The timeout of the request ended it.
    pub timed_out: bool,
    /// The out-of-memory killer ended it.
    pub out_of_memory: bool,
}

/// Exit code or signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// The process exited with this code.
    Code(i32),
    /// This signal ended the process.
    Signal(i32),
}

impl ExitStatus {
    /// As a shell shows it: the code, or 128 plus the signal.
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, which decides the exit code.
    pub kind: FailureKind,
    /// What was being done to what, for people: `mount /dev/vda on /`, `exec /bin/nope`.
    pub context: String,
    /// The kernel's error number, or 0.
    pub errno: i32,
}

/// Classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The host speaks another version.
    Version,
    /// The request is malformed, or not allowed now (a second `Start`).
    Request,
    /// The program does not exist. Exit code 127.
    NotFound,
    /// The program exists and cannot be run. Exit code 126.
    NotExecutable,
    /// No such user or group in the image. Exit code 126.
    UnknownUser,
    /// The working directory cannot be made or entered. Exit code 126.
    Workdir,
    /// Arguments or environment over the kernel's limits. Exit code 126.
    TooLong,
    /// A disk or file system could not be mounted.
    Mount,
    /// Anything else the guest's kernel refused.
    System,
}

impl FailureKind {
    /// The exit code a command line shows for it.
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::NotFound => 127,
            Self::NotExecutable | Self::UnknownUser | Self::Workdir | Self::TooLong => 126,
            Self::Version | Self::Request | Self::Mount | Self::System => 125,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CodecError, decode, encode};
    use alloc::vec;

    #[test]
    fn a_request_is_frozen_on_the_wire() {
        let request = Request::new(RequestBody::Shutdown {
            signal: 15,
            grace_ms: 10_000,
        });
        assert_eq!(encode(&request), [3, 3, 30, 0x90, 0x4e]);
    }

    #[test]
    fn waiting_for_a_workload_is_frozen_on_the_wire() {
        let listen = Request::new(RequestBody::AwaitReady(Awaited::Listen(8080)));
        assert_eq!(encode(&listen), [3, 6, 0, 0x90, 0x3f]);
        let file = Request::new(RequestBody::AwaitReady(Awaited::File(b"/x".to_vec())));
        assert_eq!(encode(&file), [3, 6, 1, 2, b'/', b'x']);
        assert_eq!(encode(&Event::Ready), [8]);
        let victim = Victim {
            name: "sh".into(),
            pid: None,
        };
        assert_eq!(
            encode(&Event::OutOfMemoryKill(victim)),
            [12, 2, b's', b'h', 0]
        );
        assert_eq!(encode(&Request::new(RequestBody::Measure)), [3, 8]);
        assert_eq!(encode(&Request::new(RequestBody::ListProcesses)), [3, 9]);
    }

    #[test]
    fn any_byte_but_nul_survives_in_arguments() {
        let all: Bytes = (1..=255).collect();
        let process = Process {
            argv: vec![b"printf".to_vec(), Bytes::new(), all.clone()],
            env: vec![[b"A=".to_vec(), all].concat()],
            cwd: Bytes::new(),
            user: Bytes::new(),
            stdin: false,
            tty: None,
            timeout_ms: None,
            groups: Vec::new(),
            limits: Vec::new(),
        };
        let request = Request::new(RequestBody::Exec(process));
        assert_eq!(decode::<Request>(&encode(&request)).unwrap(), request);
    }

    #[test]
    fn bytes_after_a_message_are_refused() {
        let mut bytes = encode(&Event::StdinClosed);
        bytes.push(0);
        assert_eq!(decode::<Event>(&bytes), Err(CodecError::Trailing(1)));
    }
}
