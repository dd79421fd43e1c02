//! Kernel settings that are the same for every workload.

use crate::sys::fd;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

/// File and value. Values are what a server distribution or Docker sets.
const TABLE: &[(&CStr, &str)] = &[
    // Any user may listen on port 80; there is no other machine on this address to protect.
    (c"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    // Any group may open an ICMP socket. The highest id the kernel takes is one below the invalid one.
    (c"/proc/sys/net/ipv4/ping_group_range", "0 4294967294"),
    // Databases and search engines refuse to start with the kernel's default of 65530.
    (c"/proc/sys/vm/max_map_count", "1048576"),
    // Memory is the limit for processes, and so that a fork bomb leaves ids for the processes of the host.
    (c"/proc/sys/kernel/pid_max", "4194304"),
    // The limit per process is enough; one for the machine only turns into odd errors.
    (c"/proc/sys/fs/file-max", "9223372036854775807"),
];

/// Applies them all. Needs /proc.
pub fn apply() -> io::Result<()> {
    TABLE
        .iter()
        .try_for_each(|(path, value)| set(&fd::open(path, libc::O_WRONLY)?, value))
}

/// IPv6 on every interface, present and future. Off in the template: nothing has an address yet, and the
/// kernel's own chatter (duplicate address detection, router solicitation) would only cost time.
#[derive(Debug)]
pub struct Ipv6 {
    disable: OwnedFd,
}

/// The card's addresses come from the host: nobody else has them, and nobody announces any.
const CARD: [(&CStr, &str); 3] = [
    (c"/proc/sys/net/ipv6/conf/eth0/accept_dad", "0"),
    (c"/proc/sys/net/ipv6/conf/eth0/accept_ra", "0"),
    (c"/proc/sys/net/ipv6/conf/eth0/router_solicitations", "0"),
];

impl Ipv6 {
    /// Turns it off and keeps the switch.
    pub fn disabled() -> io::Result<Self> {
        let disable = fd::open(c"/proc/sys/net/ipv6/conf/all/disable_ipv6", libc::O_WRONLY)?;
        set(&disable, "1")?;
        for (path, value) in CARD {
            match fd::open(path, libc::O_WRONLY) {
                // A machine without a card.
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
                file => set(&file?, value)?,
            }
        }
        Ok(Self { disable })
    }

    /// Turns it on.
    pub fn enable(&self) -> io::Result<()> {
        set(&self.disable, "0")
    }
}

/// The kernel's farewell on the console. With `loglevel=0` on the command line it would be silent too, but so
/// would a panic.
#[derive(Debug)]
pub struct Farewell {
    level: OwnedFd,
}

impl Farewell {
    /// To be silenced later.
    pub fn open() -> io::Result<Self> {
        fd::open(c"/proc/sys/kernel/printk", libc::O_WRONLY).map(|level| Self { level })
    }

    /// An orderly end needs none, and every byte costs an exit from the VM.
    pub fn silence(&self) -> io::Result<()> {
        set(&self.level, "0")
    }
}

fn set(file: &OwnedFd, value: &str) -> io::Result<()> {
    fd::write_parameter(file, value.as_bytes())
}
