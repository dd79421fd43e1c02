//! The socket on which other processes reach a VM's supervisor.
//!
//! It has a name in the runtime directory for a moment only. Then it is reached through the supervisor's own
//! descriptor of it, `/proc/PID/fd/N`, which needs the same rights (this user, or root) and goes with the
//! process, however that ends: a killed supervisor leaves no socket.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const BACKLOG: i32 = 1024;

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
    /// Listens, with a name of its own for as long as it takes. The directory is private.
    pub(super) fn open(name: &Path) -> Result<Self, Errno> {
        let socket = socket(SocketFlags::NONBLOCK)?;
        bind(&socket, &SocketAddrUnix::new(name)?)?;
        let pin = rustix::fs::open(name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        rustix::fs::unlink(name)?;
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
    let stream = socket(SocketFlags::empty())?;
    connect(&stream, &SocketAddrUnix::new(address)?)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_name_is_reached_until_its_process_lets_go_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::open(&dir.path().join("a.sock")).unwrap();
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
}
