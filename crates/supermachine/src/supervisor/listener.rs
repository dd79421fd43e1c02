//! The socket on which other processes reach a VM's supervisor.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use std::os::fd::OwnedFd;
use std::path::Path;

const BACKLOG: i32 = 1024;

fn socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | flags,
        None,
    )
}

/// Listens at `path`. The directory is private, so whoever can connect is this user.
pub(super) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let listener = socket(SocketFlags::NONBLOCK)?;
    bind(&listener, &SocketAddrUnix::new(path)?)?;
    listen(&listener, BACKLOG)?;
    Ok(listener)
}

/// The next connection, if there is one.
pub(super) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
}

/// Connects to the supervisor that listens at `path`.
pub(super) fn dial(path: &Path) -> Result<OwnedFd, Errno> {
    let stream = socket(SocketFlags::empty())?;
    connect(&stream, &SocketAddrUnix::new(path)?)?;
    Ok(stream)
}
