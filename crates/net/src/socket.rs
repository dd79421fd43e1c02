//! Sockets of the host that never wait.

use crate::wire::Unreachable;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

const fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// Begins a connection. Its end shows when the socket can be written to.
pub(crate) fn connect_tcp(to: SocketAddr) -> Result<TcpStream, Errno> {
    let socket = socket_with(family(to), SocketType::STREAM, FLAGS, None)?;
    prepare(&socket);
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno),
    }
}

/// What every stream of a guest gets: no waiting for more to send, and an end when the peer has vanished.
pub(crate) fn prepare(socket: &impl std::os::fd::AsFd) {
    // Neither is worth a connection.
    let _ = sockopt::set_tcp_nodelay(socket, true);
    let _ = sockopt::set_socket_keepalive(socket, true);
}

/// Ends a connection with a reset instead of an orderly end.
pub(crate) fn reset(socket: &TcpStream) {
    // Without it the peer sees an orderly end, which is the worst that can happen.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// A datagram socket with one peer.
pub(crate) fn connect_udp(to: SocketAddr) -> Result<UdpSocket, Errno> {
    let socket = socket_with(family(to), SocketType::DGRAM, FLAGS, None)?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// A socket for echo requests to one peer, where the host's `ping_group_range` lets us have one.
pub(crate) fn connect_ping(to: SocketAddr) -> Result<UdpSocket, Errno> {
    let protocol = match to {
        SocketAddr::V4(_) => ipproto::ICMP,
        SocketAddr::V6(_) => ipproto::ICMPV6,
    };
    let socket: OwnedFd = socket_with(family(to), SocketType::DGRAM, FLAGS, Some(protocol))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// What a failure to reach somebody says about them. `None`: that somebody is there, and refuses.
pub(crate) fn verdict(error: &io::Error) -> Option<Unreachable> {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => None,
        Some(Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            Some(Unreachable::Network)
        }
        Some(Errno::ACCESS | Errno::PERM) => Some(Unreachable::Prohibited),
        _ => Some(Unreachable::Host),
    }
}

/// Whether it is only not possible now.
pub(crate) fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
