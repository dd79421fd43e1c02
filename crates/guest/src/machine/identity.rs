//! What two copies of one machine must not share.
//!
//! | what | how it changes |
//! |---|---|
//! | the kernel's random generator | the host's randomness, counted, and a fresh start from the pool |
//! | the wall clock | set; the monotonic clock goes on |
//! | host name | `sethostname`, /etc/hostname, the lines of /etc/hosts that have it |
//! | machine id | /etc/machine-id and the message bus's, where the image has one |
//! | boot id | a file of ours over the kernel's, which makes it once and forever |
//!
//! The random pool comes first: the machine id and the boot id are drawn from it.

use super::{boot_id::BootId, etc};
use crate::failure::Context;
use crate::sys::{fd, ioctl, system};
use proto::session::{self, Failure, FailureKind};
use std::io;
use std::os::fd::OwnedFd;

/// Who the machine is, and the means to change that.
#[derive(Debug)]
pub struct Identity {
    random: OwnedFd,
    hostname: Vec<u8>,
    boot_id: BootId,
}

impl Identity {
    /// Opens what it takes. Needs the initramfs as the root.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            random: fd::open(c"/dev/urandom", libc::O_RDWR)?,
            hostname: Vec::new(),
            boot_id: BootId::open()?,
        })
    }

    /// The first identity: what comes before the root file system is assembled.
    pub fn begin(&mut self, machine: &session::Machine) -> Result<(), Failure> {
        self.hostname.clone_from(&machine.hostname);
        refresh(&self.random, machine.wall_clock_ns, &machine.entropy)
    }

    /// Another one, in a machine that has lived.
    pub fn change(&mut self, new: &session::Identity) -> Result<(), Failure> {
        refresh(&self.random, new.wall_clock_ns, &new.entropy)?;
        etc::rename(&self.hostname, &new.hostname)?;
        self.hostname.clone_from(&new.hostname);
        etc::change_machine_id(&random_id(&self.random)?)?;
        self.boot_id
            .set(&uuid(random_id(&self.random)?))
            .failing(FailureKind::System, || {
                "cover /proc/sys/kernel/random/boot_id".into()
            })
    }
}

fn refresh(random: &OwnedFd, wall_clock_ns: u64, entropy: &[u8]) -> Result<(), Failure> {
    use FailureKind::System;
    if !entropy.is_empty() {
        ioctl::add_entropy(random, entropy)
            .failing(System, || "add randomness to the kernel's pool".into())?;
    }
    if wall_clock_ns != 0 {
        system::set_clock(wall_clock_ns).failing(System, || "set the wall clock".into())?;
    }
    Ok(())
}

fn random_id(random: &OwnedFd) -> Result<[u8; 16], Failure> {
    let mut id = [0; 16];
    // The kernel gives up to 256 bytes at once or none.
    fd::read(random, &mut id).failing(FailureKind::System, || {
        "draw from the kernel's random pool".into()
    })?;
    Ok(id)
}

/// A random UUID as RFC 9562 writes it: version 4, variant 10.
fn uuid(mut id: [u8; 16]) -> String {
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let digits = etc::hex(&id);
    let part = |range| &digits[range];
    format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_with_its_version_and_variant() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let counting = std::array::from_fn(|at| at as u8);
        assert_eq!(uuid(counting), "00010203-0405-4607-8809-0a0b0c0d0e0f");
    }

    #[test]
    fn two_draws_differ() {
        let random = fd::open(c"/dev/urandom", libc::O_RDONLY).unwrap();
        assert_ne!(random_id(&random).unwrap(), random_id(&random).unwrap());
    }
}
