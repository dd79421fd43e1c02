//! Two VMs over the same files: the same kernel, initramfs and agent, the same host side, another VMM. What is measured
//! between them is the VMM.

use super::Bench;
use super::firecracker::{Devices, Firecracker, Guest};
use super::microvm::Microvm;
use super::{root, talk};
use anyhow::{Context, Result};
use proto::guest::disk;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Of both guests.
const MEMORY_MIB: u32 = 512;
/// The image of both.
const IMAGE: &str = "fio";

/// Both, with their root mounted.
pub struct Arena {
    ours: Microvm,
    theirs: Guest,
    /// Whose room has the socket.
    _firecracker: Firecracker,
}

impl Arena {
    /// Boots both over an image with fio, and a data disk if one is given.
    pub fn open(bench: &Bench, data: Option<&Path>) -> Result<Self> {
        let root = root::erofs(IMAGE)?;
        let programs = &bench.programs;
        let slots = std::iter::once((disk::ROOT, root.as_path()));
        let slots: Vec<_> = slots.chain(data.map(|path| (disk::DATA, path))).collect();
        let (ours, _) =
            Microvm::boot_with(programs, MEMORY_MIB, &slots).context("boot supermachine")?;
        let firecracker = Firecracker::install()?;
        let drives: Vec<_> = slots.iter().map(|(_, path)| *path).collect();
        let theirs = firecracker
            .boot(programs, MEMORY_MIB, Devices::Disks(&drives))
            .context("boot firecracker")?;
        talk::prepare(ours.connect()?).context("set supermachine up")?;
        let stream = theirs
            .connect()
            .context("connect to the agent through firecracker")?;
        talk::prepare(stream).context("set firecracker up")?;
        Ok(Self {
            ours,
            theirs,
            _firecracker: firecracker,
        })
    }

    /// A stream to our agent.
    pub fn ours(&self) -> Result<UnixStream> {
        self.ours.connect()
    }

    /// A stream to theirs.
    pub fn theirs(&self) -> Result<UnixStream> {
        self.theirs.connect()
    }
}

/// The guest's names of the data disk: our slots are fixed, theirs are in the order of the files.
pub const OUR_DATA: &str = "/dev/vdc";
/// See [`OUR_DATA`].
pub const THEIR_DATA: &str = "/dev/vdb";
