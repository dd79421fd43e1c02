//! From the template point to a machine that is ready for its workload: everything that depends on the
//! image, the caller or the host.

mod boot_id;
mod disk;
mod etc;
mod extras;
mod furniture;
mod hosts;
mod identity;
mod network;
mod root;

pub use extras::put_secrets;
pub use root::Root;

use crate::failure::Context;
use crate::init::{Cgroup, mounts::SHM_SIZE, sysctl::Ipv6};
use crate::sys::mount::{Restrictions, make_read_only, remount};
use disk::Disks;
use furniture::Furniture;
use identity::Identity;
use proto::mounts::Access;
use proto::session::{self, Failure, FailureKind, Machine};
use root::MountHandles;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What was opened before the template point, so that it costs nothing after it.
#[derive(Debug)]
pub struct Prepared {
    identity: Identity,
    ipv6: Ipv6,
    mounts: MountHandles,
    disks: Disks,
}

impl Prepared {
    /// Opens everything. Needs /proc, and the initramfs as the root.
    pub fn open() -> io::Result<Self> {
        root::make_places()?;
        Ok(Self {
            identity: Identity::open()?,
            ipv6: Ipv6::disabled()?,
            mounts: MountHandles::open()?,
            disks: Disks::open()?,
        })
    }

    /// Makes the machine what the message says. The result keeps what its later life needs.
    pub fn set_up(mut self, machine: &Machine, cgroup: &Cgroup) -> Result<Live, Failure> {
        use FailureKind::System;
        self.identity.begin(machine)?;
        if machine.ipv6 {
            enable(&self.ipv6)?;
        }
        if let Some(network) = &machine.network {
            network::join(network)?;
        }
        cgroup
            .limit_memory(machine.memory_limit)
            .failing(System, || "limit the workload's memory".into())?;
        cgroup
            .limit_pids_and_cpu(machine.pids_limit, machine.cpu_limit)
            .failing(System, || {
                "limit the workload's processes and CPU time".into()
            })?;
        let root = root::assemble(machine.upper, &self.disks)?;
        etc::write(machine)?;
        let furnish = || "furnish /run as the image has it".into();
        let of_run = Furniture::of(Path::new("/run")).failing(System, furnish)?;
        self.mounts.move_into_root()?;
        of_run.put().failing(System, furnish)?;
        size_shm(machine.shm_size)?;
        let volumes = extras::apply(&machine.extras, &self.disks)?;
        Ok(Live {
            access: machine.extras.root,
            volumes,
            root,
            ipv6: self.ipv6,
            network: machine.network.clone(),
            identity: self.identity,
        })
    }
}

/// A machine that has been set up.
#[derive(Debug)]
pub struct Live {
    /// What the workload may do with the root.
    access: Access,
    /// Those that are written to, wherever they are mounted.
    volumes: Vec<OwnedFd>,
    root: Root,
    ipv6: Ipv6,
    network: Option<session::Network>,
    identity: Identity,
}

impl Live {
    /// Makes it another machine.
    pub fn take_on(&mut self, identity: &session::Identity) -> Result<(), Failure> {
        if let Some(network) = &identity.network {
            self.move_to(network)?;
        }
        if self.access == Access::ReadWrite {
            return self.identity.change(identity);
        }
        // The name is in files of the root, and no process of the workload runs now.
        let make = |access| {
            extras::make_root(access).failing(FailureKind::Mount, || {
                "change what may be done with /".into()
            })
        };
        make(Access::ReadWrite)?;
        let changed = self.identity.change(identity);
        make(Access::ReadOnly)?;
        changed
    }

    /// Takes a place on the network in the stead of the one there was, if there was one.
    fn move_to(&mut self, network: &session::Network) -> Result<(), Failure> {
        if network.v6.is_some() {
            enable(&self.ipv6)?;
        }
        match &self.network {
            Some(old) => {
                network::hear_out(network);
                network::change(old, network)?;
            }
            None => network::join(network)?,
        }
        self.network = Some(network.clone());
        Ok(())
    }

    /// Leaves the writable layer and the volumes clean on their disks.
    pub fn close(&self) -> io::Result<()> {
        let volumes = self.volumes.iter().map(make_read_only);
        volumes.fold(self.root.close(), io::Result::and)
    }
}

fn enable(ipv6: &Ipv6) -> Result<(), Failure> {
    ipv6.enable()
        .failing(FailureKind::System, || "enable IPv6".into())
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
