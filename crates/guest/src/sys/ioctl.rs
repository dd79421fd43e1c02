//! Requests to devices: network interfaces and the random pool.

use super::{check, fd::raw};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
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

    /// Sets the largest packet of an interface.
    pub fn set_mtu(&self, name: &str, mtu: u16) -> io::Result<()> {
        let mut request = request(name);
        request.ifr_ifru.ifru_mtu = mtu.into();
        self.send(libc::SIOCSIFMTU, &mut request)
    }

    /// Sets the hardware address of an Ethernet interface.
    pub fn set_mac(&self, name: &str, mac: [u8; 6]) -> io::Result<()> {
        let mut request = request(name);
        let mut data = [0; 14];
        for (slot, byte) in data.iter_mut().zip(mac) {
            *slot = byte.cast_signed();
        }
        request.ifr_ifru.ifru_hwaddr = libc::sockaddr {
            sa_family: libc::ARPHRD_ETHER,
            sa_data: data,
        };
        self.send(libc::SIOCSIFHWADDR, &mut request)
    }

    /// Sends everything that is not on a link to this gateway.
    pub fn add_default_route(&self, gateway: Ipv4Addr) -> io::Result<()> {
        // SAFETY: an rtentry is integers, addresses and a pointer to a name, which may be null.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = socket_address(gateway);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        // SAFETY: the request reads one rtentry.
        check(unsafe { libc::ioctl(raw(&self.socket), libc::SIOCADDRT, &raw const route) })
            .map(drop)
    }

    /// Gives an interface an IPv6 address, and a way to everything by a gateway on its link, or takes both away.
    pub fn change_ipv6(&self, name: &str, place: Ipv6Place, change: Change) -> io::Result<()> {
        let (on_address, on_route) = match change {
            Change::Take => (libc::SIOCSIFADDR, libc::SIOCADDRT),
            Change::Leave => (libc::SIOCDIFADDR, libc::SIOCDELRT),
        };
        let mut named = request(name);
        self.send(libc::SIOCGIFINDEX, &mut named)?;
        // SAFETY: the request has just written the number.
        let index = unsafe { named.ifr_ifru.ifru_ifindex };
        // SAFETY: no memory is involved.
        let fd = check(unsafe {
            libc::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the kernel just gave us this descriptor.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let address = libc::in6_ifreq {
            ifr6_addr: in6(place.address),
            ifr6_prefixlen: place.prefix.into(),
            ifr6_ifindex: index,
        };
        // SAFETY: the request reads one in6_ifreq.
        let addressed = check(unsafe { libc::ioctl(raw(&socket), on_address, &raw const address) });
        let route = Ipv6Route {
            gateway: in6(place.gateway),
            metric: 1024,
            flags: u32::from(libc::RTF_UP | libc::RTF_GATEWAY),
            index,
            ..Ipv6Route::default()
        };
        // SAFETY: the request reads one in6_rtmsg, which this is.
        let routed = check(unsafe { libc::ioctl(raw(&socket), on_route, &raw const route) });
        addressed.and(routed).map(drop)
    }

    fn send(&self, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: these requests read one ifreq, which `request` is.
        check(unsafe { libc::ioctl(raw(&self.socket), what, std::ptr::from_mut(request)) })
            .map(drop)
    }
}

/// A place in the IPv6 world.
#[derive(Debug, Clone, Copy)]
pub struct Ipv6Place {
    /// The address.
    pub address: Ipv6Addr,
    /// Length of the link's prefix.
    pub prefix: u8,
    /// The way to everything.
    pub gateway: Ipv6Addr,
}

/// Coming or going.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// It is taken.
    Take,
    /// It is given up.
    Leave,
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

/// `struct in6_rtmsg` of linux/ipv6_route.h, whose fields libc hides.
#[repr(C)]
struct Ipv6Route {
    destination: libc::in6_addr,
    source: libc::in6_addr,
    gateway: libc::in6_addr,
    kind: u32,
    destination_len: u16,
    source_len: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    index: libc::c_int,
}

const _: () = assert!(size_of::<Ipv6Route>() == size_of::<libc::in6_rtmsg>());

impl Default for Ipv6Route {
    fn default() -> Self {
        let nowhere = in6(Ipv6Addr::UNSPECIFIED);
        Self {
            destination: nowhere,
            source: nowhere,
            gateway: nowhere,
            kind: 0,
            destination_len: 0,
            source_len: 0,
            metric: 0,
            info: 0,
            flags: 0,
            index: 0,
        }
    }
}

const fn in6(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: address.octets(),
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
