//! Requests to devices: network interfaces and the random pool.

use super::{check, fd::raw};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{FromRawFd, OwnedFd};

/// The kernel's table of network interfaces.
#[derive(Debug)]
pub struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    /// Opens the table.
    pub fn open() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe {
            libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the kernel just gave us this descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { socket })
    }

    /// Brings an interface up.
    pub fn up(&self, name: &str) -> io::Result<()> {
        let mut request = request(name);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        self.send(libc::SIOCSIFFLAGS, &mut request)
    }

    /// Gives an interface its address and network mask.
    pub fn set_address(&self, name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
        let mut request = request(name);
        request.ifr_ifru.ifru_addr = socket_address(address);
        self.send(libc::SIOCSIFADDR, &mut request)?;
        request.ifr_ifru.ifru_netmask = socket_address(mask);
        self.send(libc::SIOCSIFNETMASK, &mut request)
    }

    fn send(&self, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: these requests read one ifreq, which `request` is.
        check(unsafe { libc::ioctl(raw(&self.socket), what, std::ptr::from_mut(request)) })
            .map(drop)
    }
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is integers and byte arrays; zero is valid for all of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0: it ends the name.
    let room = request.ifr_name.len() - 1;
    for (slot, byte) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    request
}

/// A `sockaddr_in` in the clothes of a `sockaddr`: family, two bytes of port, four bytes of address.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (slot, byte) in data[2..6].iter_mut().zip(address.octets()) {
        *slot = byte.cast_signed();
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of linux/random.h; libc does not name them.
const ADD_ENTROPY: libc::c_ulong = 0x4008_5203;
const RESEED: libc::c_ulong = 0x5207;

/// Mixes `bytes` into the pool of an open /dev/urandom, counts them as fully random, and makes the
/// generator start afresh from the pool.
pub fn add_entropy(random: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // struct rand_pool_info: bits of entropy, length in bytes, the bytes.
    let length =
        i32::try_from(bytes.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut pool = Vec::with_capacity(8 + bytes.len());
    pool.extend_from_slice(&length.saturating_mul(8).to_ne_bytes());
    pool.extend_from_slice(&length.to_ne_bytes());
    pool.extend_from_slice(bytes);
    // SAFETY: the kernel reads the eight bytes of header and as many bytes as the header says.
    check(unsafe { libc::ioctl(raw(random), ADD_ENTROPY, pool.as_ptr()) })?;
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(raw(random), RESEED, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_where_sockaddr_in_has_it() {
        let address = socket_address(Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(address.sa_family, libc::AF_INET as libc::sa_family_t);
        assert_eq!(address.sa_data[..6], [0, 0, 198_u8.cast_signed(), 18, 0, 1]);
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_before_its_end_marker() {
        let name = request("an-interface-with-a-long-name").ifr_name;
        assert_eq!(name[name.len() - 1], 0);
        assert_eq!(name[0], b'a'.cast_signed());
    }
}
