//! Telling the host when a workload is ready, without a program of the image: it may have none but its own.
//!
//! The kernel tells nobody when a socket begins to listen, and inotify watches what exists: of a path whose directories
//! are still to be made, or to be mounted upon, it would say nothing. So both are looked for, often enough that nobody
//! has to wait, and only while a host has asked.

use super::token::SessionId;
use super::{Agent, Machine};
use crate::failure::failure;
use proto::session::{Awaited, Event, Failure, FailureKind};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(10);

/// How the kernel's list of sockets calls the state of one that listens: `TCP_LISTEN`.
const LISTENS: &str = "0A";

/// Where the lists are. /proc shows the namespace of the reaper, which the agent is not in: it has no /proc/self, and so
/// no /proc/net.
pub const LISTS: &str = "/proc/1/net";

/// Who waits for what.
#[derive(Debug)]
pub struct Readiness {
    /// The kernel's lists of TCP sockets, opened before a workload could put something in their place.
    sockets: Vec<File>,
    waiting: Vec<(SessionId, Awaited)>,
    next_look: Option<Instant>,
}

impl Readiness {
    /// From the lists of a network namespace.
    pub fn open(lists: &Path) -> io::Result<Self> {
        let mut sockets = vec![File::open(lists.join("tcp"))?];
        match File::open(lists.join("tcp6")) {
            Ok(list) => sockets.push(list),
            // A kernel without IPv6 has no list of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            sockets,
            waiting: Vec::new(),
            next_look: None,
        })
    }

    /// When to look next, if anybody waits.
    pub const fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    fn add(&mut self, id: SessionId, awaited: Awaited) {
        self.waiting.push((id, awaited));
        // At once: it may have happened.
        self.next_look = Some(Instant::now());
    }

    /// Looks if it is time to, at what sessions wait for that are still `open`; whose is there.
    fn look(
        &mut self,
        now: Instant,
        mut open: impl FnMut(SessionId) -> bool,
    ) -> Vec<(SessionId, io::Result<()>)> {
        if self.next_look.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut done = Vec::new();
        let sockets = &self.sockets;
        self.waiting.retain(|(id, awaited)| {
            if !open(*id) {
                return false;
            }
            match is_there(awaited, sockets) {
                Ok(false) => true,
                Ok(true) => {
                    done.push((*id, Ok(())));
                    false
                }
                Err(error) => {
                    done.push((*id, Err(error)));
                    false
                }
            }
        });
        self.next_look = (!self.waiting.is_empty()).then(|| now + PAUSE);
        done
    }
}

impl Agent {
    /// Tells this session when what it waits for is there.
    pub(super) fn await_ready(&mut self, id: SessionId, awaited: Awaited) -> Result<(), Failure> {
        match &self.machine {
            Machine::Up(_) => {}
            Machine::Failed(reason) => return Err(failure(FailureKind::Request, reason)),
            Machine::Template(_) => {
                return Err(failure(
                    FailureKind::Request,
                    "the machine has not been started",
                ));
            }
        }
        self.readiness.add(id, awaited);
        Ok(())
    }

    /// Looks for what sessions wait for.
    pub(super) fn look_whether_ready(&mut self, now: Instant) {
        let Self {
            readiness,
            sessions,
            ..
        } = self;
        let open = |id| sessions.get(id).is_some_and(|session| !session.is_ending());
        for (id, result) in readiness.look(now, open) {
            if let Some(session) = self.sessions.get(id) {
                session.finish(&match result {
                    Ok(()) => Event::Ready,
                    Err(error) => Event::Failed(Failure {
                        kind: FailureKind::System,
                        context: "look whether the workload is ready".into(),
                        errno: error.raw_os_error().unwrap_or(0),
                    }),
                });
            }
            self.schedule(id);
        }
    }
}

fn is_there(awaited: &Awaited, sockets: &[File]) -> io::Result<bool> {
    match awaited {
        Awaited::Listen(port) => {
            for list in sockets {
                let mut list = list;
                list.rewind()?;
                if listens(BufReader::new(list), *port)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        // What cannot be looked at is not there yet: a directory on the way may still be missing, or be a file.
        Awaited::File(path) => Ok(Path::new(OsStr::from_bytes(path)).exists()),
    }
}

/// Whether a list of the kernel's has a socket that listens on this port. Those that listen stand first.
fn listens(list: impl BufRead, port: u16) -> io::Result<bool> {
    for line in list.lines().skip(1) {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let (local, state) = (words.nth(1), words.nth(1));
        if state != Some(LISTENS) {
            return Ok(false);
        }
        let found = local
            .and_then(|local| local.rsplit_once(':'))
            .is_some_and(|(_, digits)| u16::from_str_radix(digits, 16) == Ok(port));
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    const fn id(slot: u32) -> SessionId {
        SessionId {
            slot,
            generation: 0,
        }
    }

    fn ready(readiness: &mut Readiness, now: Instant) -> Vec<SessionId> {
        let done = readiness.look(now, |_| true);
        done.into_iter()
            .map(|(id, result)| result.map(|()| id).unwrap())
            .collect()
    }

    #[test]
    fn a_port_is_ready_when_something_listens_there_and_not_when_something_connects_from_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = TcpListener::bind(address) else {
                // Without IPv6 there is nothing to look at.
                assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err());
                continue;
            };
            let port = server.local_addr().unwrap().port();
            let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let from = client.local_addr().unwrap().port();
            let mut readiness = Readiness::open(Path::new("/proc/self/net")).unwrap();
            readiness.add(id(1), Awaited::Listen(port));
            readiness.add(id(2), Awaited::Listen(from));
            let now = Instant::now();
            assert_eq!(ready(&mut readiness, now), [id(1)]);
            drop(server);
            readiness.add(id(3), Awaited::Listen(port));
            assert_eq!(ready(&mut readiness, now + PAUSE), []);
        }
    }

    #[test]
    fn the_kernels_list_is_read_by_port_and_state() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                    0: 0100007F:0050 00000000:0000 0A 00000000:00000000\n\
                    1: 00000000000000000000000000000000:1F90 0000:0000 0A 0\n\
                    2: 0100007F:0051 0100007F:0052 01 00000000:00000000\n";
        for (port, found) in [(80, true), (8080, true), (81, false), (0x7f, false)] {
            assert_eq!(listens(list.as_bytes(), port).unwrap(), found, "{port}");
        }
        assert!(!listens(&b""[..], 80).unwrap());
        assert!(!listens(&b"header\nodd\n"[..], 80).unwrap());
    }

    #[test]
    fn a_file_is_ready_when_it_is_there_whatever_was_missing_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/app/ready");
        let mut readiness = Readiness::open(Path::new("/proc/self/net")).unwrap();
        assert_eq!(readiness.next_look(), None);
        let wanted = path.as_os_str().as_bytes().to_vec();
        readiness.add(id(1), Awaited::File(wanted));
        let now = readiness.next_look().unwrap();
        assert_eq!(ready(&mut readiness, now), []);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(ready(&mut readiness, now), [], "not before its time");
        assert_eq!(ready(&mut readiness, now + PAUSE), [id(1)]);
        assert_eq!(readiness.next_look(), None);
    }

    #[test]
    fn nobody_looks_for_a_session_that_is_gone() {
        let mut readiness = Readiness::open(Path::new("/proc/self/net")).unwrap();
        readiness.add(id(1), Awaited::File(b"/none".to_vec()));
        let now = Instant::now();
        assert!(readiness.look(now, |_| false).is_empty());
        assert_eq!(readiness.next_look(), None);
    }
}
