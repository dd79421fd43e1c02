//! The socket on which other processes reach a VM's supervisor.
//!
//! It has a name in the VM's record for a moment only. Then it is reached through the supervisor's own
//! descriptor of it, `/proc/PID/fd/N`, which needs the same rights (this user, or root) and goes with the
//! process, however that ends. The name of one that was killed in that moment goes with the record.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const BACKLOG: i32 = 1024;

/// Its name for a moment.
const NAME: &str = "socket";

fn socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | flags,
        None,
    )
}

/// A listening socket without a name.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    /// Keeps the inode that connections are made to.
    pin: OwnedFd,
}

impl Listener {
    /// Listens, with a name in `dir` for as long as it takes. The directory is private and nobody else's.
    pub(super) fn open(dir: &Path) -> Result<Self, Errno> {
        let path = OFlags::PATH | OFlags::CLOEXEC;
        let dir = openat(CWD, dir, path | OFlags::DIRECTORY, Mode::empty())?;
        match unlinkat(&dir, NAME, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let socket = socket(SocketFlags::NONBLOCK)?;
        // Of any length: a socket's own path has 107 bytes at most.
        let name = format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd());
        bind(&socket, &SocketAddrUnix::new(name)?)?;
        let pin = openat(&dir, NAME, path | OFlags::NOFOLLOW, Mode::empty());
        unlinkat(&dir, NAME, AtFlags::empty())?;
        listen(&socket, BACKLOG)?;
        Ok(Self { socket, pin: pin? })
    }

    /// Where other processes connect to.
    pub(super) fn address(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.pin.as_raw_fd()
        ))
    }

    /// The next connection, if there is one.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Connects to the supervisor that listens at `address`.
pub(super) fn dial(address: &Path) -> Result<OwnedFd, Errno> {
    dial_with(address, SocketFlags::empty())
}

/// As [`dial`]; one that has too many clients is not waited for.
pub(super) fn dial_now(address: &Path) -> Result<OwnedFd, Errno> {
    dial_with(address, SocketFlags::NONBLOCK)
}

fn dial_with(address: &Path, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let stream = socket(flags)?;
    connect(&stream, &SocketAddrUnix::new(address)?)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_name_is_reached_until_its_process_lets_go_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::open(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let address = listener.address();
        assert!(listener.accept().is_none());
        let _client = dial(&address).unwrap();
        assert!(listener.accept().is_some());
        drop(listener);
        assert!(matches!(
            dial(&address),
            Err(Errno::NOENT | Errno::CONNREFUSED)
        ));
    }

    #[test]
    fn a_directory_may_be_deep_and_hold_the_name_of_one_that_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(200)).join("y".repeat(200));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join(NAME), "").unwrap();
        let listener = Listener::open(&deep).unwrap();
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
        let _client = dial(&listener.address()).unwrap();
        assert!(listener.accept().is_some());
    }
}
