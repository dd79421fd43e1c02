//! Sockets: vsock towards the host, a pair between our own roles.

use super::{check, fd::raw};
use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

const HOST: u32 = libc::VMADDR_CID_HOST;

fn vsock(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe {
        libc::socket(
            libc::AF_VSOCK,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags,
            0,
        )
    })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    // SAFETY: sockaddr_vm is integers only.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    address
}

const VSOCK_ADDRESS_LEN: libc::socklen_t = size_of::<libc::sockaddr_vm>() as libc::socklen_t;

/// Sends an ICMP message and waits for an answer to it.
pub fn echo(to: SocketAddrV4, message: &[u8], patience: Duration) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            libc::IPPROTO_ICMP,
        )
    })?;
    // SAFETY: the kernel just gave us this descriptor.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    socket.set_read_timeout(Some(patience))?;
    socket.connect(to)?;
    socket.send(message)?;
    socket.recv(&mut [0; 64]).map(drop)
}

/// Listens on a vsock port. Accepting does not wait.
pub fn listen(port: u32, backlog: i32) -> io::Result<OwnedFd> {
    let socket = vsock(libc::SOCK_NONBLOCK)?;
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the kernel reads the address, whose length is given.
    check(unsafe { libc::bind(raw(&socket), (&raw const address).cast(), VSOCK_ADDRESS_LEN) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(raw(&socket), backlog) })?;
    Ok(socket)
}

/// Who connected.
#[derive(Debug)]
pub enum Peer {
    /// The host, with the connection. Reads and writes do not wait.
    Host(OwnedFd),
    /// Someone else; the connection is closed.
    Stranger,
}

/// Takes a connection; `None` when there is none.
pub fn accept(listener: &OwnedFd) -> io::Result<Option<Peer>> {
    let mut address = vsock_address(0, 0);
    let mut length = VSOCK_ADDRESS_LEN;
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the kernel writes at most `length` bytes of address.
    let accepted = check(unsafe {
        libc::accept4(
            raw(listener),
            (&raw mut address).cast(),
            &raw mut length,
            flags,
        )
    });
    let fd = match accepted {
        Err(error) if super::would_block(&error) => return Ok(None),
        other => other?,
    };
    // SAFETY: the kernel just gave us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(Some(if address.svm_cid == HOST {
        Peer::Host(socket)
    } else {
        Peer::Stranger
    }))
}

/// Tries to connect to a port of the host and gives up the connection at once. That the host refuses is the
/// expected answer; an error is that there is no way to it.
pub fn knock(port: u32) -> io::Result<()> {
    let socket = vsock(0)?;
    let address = vsock_address(HOST, port);
    // SAFETY: the kernel reads the address, whose length is given.
    let answer = check(unsafe {
        libc::connect(raw(&socket), (&raw const address).cast(), VSOCK_ADDRESS_LEN)
    });
    match answer {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENETUNREACH)) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Two connected stream sockets that wait.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Sends as much as goes in. Never raises SIGPIPE.
pub fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel only reads `bytes`.
    let count = unsafe {
        libc::send(
            raw(socket),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    check(count).map(isize::cast_unsigned)
}

/// Receives what is there without waiting; 0 at the end.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes.
    let count = unsafe {
        libc::recv(
            raw(socket),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    check(count).map(isize::cast_unsigned)
}

/// Says that nothing more will be sent.
pub fn finish_sending(socket: &impl AsFd) {
    // SAFETY: no memory is involved; a peer that is gone needs no notice.
    unsafe { libc::shutdown(raw(socket), libc::SHUT_WR) };
}

/// Descriptors that ride along with one message, at most.
pub const MAX_RIDERS: usize = 3;

const RIDERS_SPACE: usize = 64;
const _: () = {
    // SAFETY: CMSG_SPACE is arithmetic.
    let needed = unsafe { libc::CMSG_SPACE((MAX_RIDERS * size_of::<RawFd>()) as u32) };
    assert!(needed as usize <= RIDERS_SPACE);
};

/// Room for one control message, aligned as its header wants it.
#[repr(C, align(8))]
struct ControlBuffer([u8; RIDERS_SPACE]);

/// Sends `bytes` with descriptors, as much of the bytes as goes in (never none).
pub fn send_with(
    socket: &impl AsFd,
    bytes: &[u8],
    riders: [BorrowedFd<'_>; MAX_RIDERS],
) -> io::Result<usize> {
    let fds = riders.map(|fd| raw(&fd));
    let mut control = ControlBuffer([0; RIDERS_SPACE]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: msghdr is integers and pointers; null is valid for the parts left out.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: the control buffer is aligned and, as asserted above, large enough for one header and
    // MAX_RIDERS descriptors; CMSG_FIRSTHDR points into it because msg_controllen says it has room.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size_of_val(&fds) as u32) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of_val(&fds) as u32) as usize;
        libc::CMSG_DATA(header)
            .cast::<[RawFd; MAX_RIDERS]>()
            .write_unaligned(fds);
    }
    // SAFETY: `message` points to live buffers whose lengths it states; the kernel only reads them.
    check(unsafe { libc::sendmsg(raw(socket), &raw const message, libc::MSG_NOSIGNAL) })
        .map(isize::cast_unsigned)
}

/// Receives bytes and the descriptors that came with them, waiting for the first byte; 0 at the end.
pub fn receive_with(
    socket: &impl AsFd,
    buffer: &mut [u8],
    riders: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = ControlBuffer([0; RIDERS_SPACE]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is integers and pointers; null is valid for the parts left out.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = RIDERS_SPACE;
    // SAFETY: `message` points to live buffers whose lengths it states.
    let count =
        check(unsafe { libc::recvmsg(raw(socket), &raw mut message, libc::MSG_CMSG_CLOEXEC) })?;
    // SAFETY: the kernel filled the control buffer and set its length; the walk stays inside it. Each
    // SCM_RIGHTS entry holds fresh descriptors that are ours alone.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for at in 0..bytes / size_of::<RawFd>() {
                    riders.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(count.cast_unsigned())
}

/// Whether a read would not wait.
pub fn is_readable(fd: &impl AsFd) -> bool {
    wait_for_either(fd, fd, 0).is_ok_and(|(readable, _)| readable)
}

/// Whether the other side has closed the connection or is gone.
pub fn is_hung_up(socket: &OwnedFd) -> bool {
    let mut look = libc::pollfd {
        fd: raw(socket),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one entry.
    let count = unsafe { libc::poll(&raw mut look, 1, 0) };
    count > 0
}

/// Waits until one of two descriptors is readable, at most this many milliseconds (negative: for ever).
pub fn wait_for_either(
    first: &impl AsFd,
    second: &impl AsFd,
    timeout_ms: i32,
) -> io::Result<(bool, bool)> {
    let poll = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [poll(raw(first)), poll(raw(second))];
    // SAFETY: the kernel reads and writes the two entries.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout_ms) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok((fds[0].revents != 0, fds[1].revents != 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;

    #[test]
    fn a_closed_connection_is_hung_up_even_if_there_is_more_to_read() {
        let (ours, theirs) = pair().unwrap();
        send(&theirs, b"last").unwrap();
        assert!(!is_hung_up(&ours));
        drop(theirs);
        assert!(is_hung_up(&ours));
    }

    #[test]
    fn descriptors_ride_along_with_their_message() {
        let (ours, theirs) = pair().unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        send_with(
            &ours,
            b"take",
            [writer.as_fd(), writer.as_fd(), writer.as_fd()],
        )
        .unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let mut riders = Vec::new();
        assert_eq!(receive_with(&theirs, &mut buffer, &mut riders).unwrap(), 4);
        assert_eq!((&buffer[..4], riders.len()), (&b"take"[..], 3));
        fd::write(&riders[2], b"through").unwrap();
        drop(riders);
        assert_eq!(fd::read(&reader, &mut buffer).unwrap(), 7);
        assert_eq!(
            fd::read(&reader, &mut buffer).unwrap(),
            0,
            "no other end is left open"
        );
    }
}
