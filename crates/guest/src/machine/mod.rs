//! From the template point to a machine that is ready for its workload: everything that depends on the
//! image, the caller or the host.

mod etc;
mod root;

pub use root::{MountHandles, Root};

use crate::failure::Context;
use crate::init::{Cgroup, mounts::SHM_SIZE, sysctl::Ipv6};
use crate::sys::mount::{Restrictions, remount};
use crate::sys::{fd, ioctl, system};
use proto::session::{Failure, FailureKind, Machine};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

/// What was opened before the template point, so that it costs nothing after it.
#[derive(Debug)]
pub struct Prepared {
    random: OwnedFd,
    ipv6: Ipv6,
    mounts: MountHandles,
}

impl Prepared {
    /// Opens everything. Needs /proc, and the initramfs as the root.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            random: fd::open(c"/dev/urandom", libc::O_RDWR)?,
            ipv6: Ipv6::disabled()?,
            mounts: MountHandles::open()?,
        })
    }

    /// Makes the machine what the message says. The result keeps what the end of the machine needs.
    pub fn set_up(self, machine: &Machine, cgroup: &Cgroup) -> Result<Root, Failure> {
        use FailureKind::System;
        if machine.wall_clock_ns != 0 {
            system::set_clock(machine.wall_clock_ns)
                .failing(System, || "set the wall clock".into())?;
        }
        if !machine.entropy.is_empty() {
            ioctl::add_entropy(&self.random, &machine.entropy)
                .failing(System, || "add randomness to the kernel's pool".into())?;
        }
        if machine.ipv6 {
            self.ipv6
                .enable()
                .failing(System, || "enable IPv6".into())?;
        }
        cgroup
            .limit_memory(machine.memory_limit)
            .failing(System, || "limit the workload's memory".into())?;
        let root = root::assemble(machine.upper)?;
        etc::write(machine)?;
        self.mounts.move_into_root()?;
        size_shm(machine.shm_size)?;
        Ok(root)
    }
}

fn size_shm(bytes: u64) -> Result<(), Failure> {
    if bytes == SHM_SIZE {
        return Ok(());
    }
    let options = CString::new(format!("size={bytes}")).expect("digits hold no NUL");
    remount(c"/dev/shm", Restrictions::DATA_ONLY, &options).failing(FailureKind::Mount, || {
        format!("give /dev/shm {bytes} bytes")
    })
}
