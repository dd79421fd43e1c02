//! The disk slots, and the thread that serves them: a slow disk must not hold up the sockets.

use crate::arch::layout::Slot;
use crate::bus::{Bus, Shared, lock};
use crate::control::ControlSocket;
use crate::error::VmmError;
use crate::gate::Gate;
use crate::hypervisor::WriteEvent;
use crate::machine::{refused, section};
use crate::os::{DirectFile, Poller, Watch};
use crate::slot::{Backplane, Plugged, SlotInterrupt};
use devices::virtio::VirtioDevice;
use devices::virtio::blk::{Access, Backend, Block, DiskError, FileDisk, LayeredDisk, Piece};
use proto::control::{Disk, DiskMode, DiskShape, Event, Step};
use proto::guest::disk;
use snapshot::state::{State, StateWriter};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

type AnyDisk = Box<dyn Backend>;
type BlockDevice = Block<AnyDisk>;

/// Disks as the library described them, until there are slots to put them into.
#[derive(Default)]
pub struct DiskSet {
    disks: [Option<Described>; disk::COUNT as usize],
    unfinished: Option<u8>,
}

struct Described {
    mode: DiskMode,
    shape: DiskShape,
    pieces: Vec<Piece<DirectFile>>,
}

impl Described {
    fn make(self) -> Result<AnyDisk, DiskError> {
        let volatile = self.mode == DiskMode::Volatile;
        Ok(match self.shape {
            DiskShape::Concatenated => {
                let disk = FileDisk::new(self.pieces)?;
                Box::new(if volatile {
                    disk.ignoring_flushes()
                } else {
                    disk
                })
            }
            DiskShape::Layered => {
                let disk = LayeredDisk::new(self.pieces)?;
                Box::new(if volatile {
                    disk.ignoring_flushes()
                } else {
                    disk
                })
            }
        })
    }
}

impl DiskSet {
    /// Adds what one `SetDisk` says. Returns the slot when its disk is complete.
    pub fn add(&mut self, disk: &Disk, files: Vec<OwnedFd>) -> Result<Option<u8>, VmmError> {
        let refuse = |what: String| Err(VmmError::new(Step::Protocol, what));
        if disk.slot >= disk::COUNT {
            return refuse(format!("there is no disk slot {}", disk.slot));
        }
        if (disk.mode == DiskMode::ReadOnly) != (disk.slot == disk::ROOT) {
            return refuse(format!("disk slot {} has its access fixed", disk.slot));
        }
        if disk.pieces.len() != files.len() {
            return refuse(format!(
                "a disk of {} pieces came with {} descriptors",
                disk.pieces.len(),
                files.len()
            ));
        }
        if disk.shape == DiskShape::Layered && disk.more {
            return refuse("the layers of a disk came in more than one message".into());
        }
        let described = &mut self.disks[usize::from(disk.slot)];
        if self.unfinished != Some(disk.slot) {
            *described = None;
        }
        let described = described.get_or_insert_with(|| Described {
            mode: disk.mode,
            shape: disk.shape,
            pieces: Vec::new(),
        });
        let pieces = disk.pieces.iter().zip(files);
        described.pieces.extend(pieces.map(|(&len, file)| Piece {
            file: File::from(file).into(),
            len,
        }));
        self.unfinished = disk.more.then_some(disk.slot);
        Ok((!disk.more).then_some(disk.slot))
    }

    fn take(&mut self, slot: u8) -> Result<Option<AnyDisk>, VmmError> {
        let described = self.disks[usize::from(slot)].take();
        described
            .filter(|disk| !disk.pieces.is_empty())
            .map(Described::make)
            .transpose()
            .map_err(|error| {
                VmmError::new(Step::Device, format!("disk {slot} cannot be used: {error}"))
            })
    }
}

/// Every disk slot of a machine.
pub struct Disks {
    devices: Vec<Shared<BlockDevice>>,
    interrupts: Vec<Arc<SlotInterrupt>>,
    bells: Vec<WriteEvent>,
    gate: Arc<Gate>,
}

impl Disks {
    /// Plugs in every slot, filled or empty, and starts serving them.
    pub fn plug(
        backplane: &Backplane<'_>,
        bus: &mut Bus,
        set: &mut DiskSet,
        control: &ControlSocket,
    ) -> Result<Self, VmmError> {
        let mut slots = Vec::new();
        for index in 0..disk::COUNT {
            let access = if index == disk::ROOT {
                Access::ReadOnly
            } else {
                Access::ReadWrite
            };
            let disk = set.take(index)?;
            let plugged = backplane.plug(Slot::disk(index), bus, |doorbell| {
                let id = format!("supermachine-{index}");
                let mut device =
                    Block::new(access, &id, doorbell, report_first_failure(index, control));
                device.set_backend(disk);
                device
            })?;
            slots.push(plugged);
        }
        let devices = slots.iter().map(|slot| Arc::clone(&slot.device)).collect();
        let interrupts = slots
            .iter()
            .map(|slot| Arc::clone(&slot.interrupt))
            .collect();
        let bells = slots
            .iter()
            .map(|slot| slot.notified.try_clone())
            .collect::<io::Result<_>>()
            .map_err(VmmError::at(Step::Device, "cannot make a doorbell"))?;
        let gate = Arc::new(Gate::default());
        serve(slots, Arc::clone(&gate))
            .map_err(VmmError::at(Step::Device, "cannot start the disk thread"))?;
        Ok(Self {
            devices,
            interrupts,
            bells,
            gate,
        })
    }

    /// Puts the disk of a completed `SetDisk` into its slot; the driver hears of it.
    pub fn replace(&self, slot: u8, set: &mut DiskSet) -> Result<(), VmmError> {
        let disk = set.take(slot)?;
        let size = |disk: Option<&AnyDisk>| disk.map_or(0, |disk| disk.size());
        let now = size(disk.as_ref());
        let mut device = lock(&self.devices[usize::from(slot)]);
        let before = device.device_mut().set_backend(disk);
        // The same disk in other files is nothing to the guest.
        if size(before.as_ref()) != now {
            device.config_changed();
        }
        Ok(())
    }

    /// The interrupt of a slot, if it is a disk's.
    pub fn interrupt(&self, slot: Slot) -> Option<&SlotInterrupt> {
        self.interrupts.get(slot.index()).map(Arc::as_ref)
    }

    /// Writes the section of every slot.
    pub fn save(&self, sections: &mut StateWriter) {
        for (index, device) in self.devices.iter().enumerate() {
            sections.put(&section_name(index), VERSION, &lock(device).save());
        }
    }

    /// Makes every slot what it was; what is in it may be another disk.
    pub fn restore(&self, sections: &State) -> Result<(), VmmError> {
        for (index, device) in self.devices.iter().enumerate() {
            let name = section_name(index);
            lock(device)
                .restore(&section(sections, &name, VERSION)?)
                .map_err(refused(&name))?;
        }
        Ok(())
    }

    /// After a restore: tells the drivers of disks that are not those they knew, and looks at their queues.
    pub fn announce(&self) {
        for (device, bell) in self.devices.iter().zip(&self.bells) {
            lock(device).announce();
            bell.pretend();
        }
    }

    /// Finishes what is under way and serves nothing more.
    pub fn pause(&self) {
        self.gate.close();
    }

    /// Goes on.
    pub fn resume(&self) {
        self.gate.open();
    }
}

/// Version of a disk slot's section.
const VERSION: u16 = <BlockDevice as VirtioDevice>::STATE_VERSION;

fn section_name(index: usize) -> String {
    format!("devices/disk{index}")
}

/// Tells the library of a disk's first failure; a guest can cause any number.
fn report_first_failure(slot: u8, control: &ControlSocket) -> devices::virtio::blk::Observer {
    let control = control.clone();
    let mut told = false;
    Box::new(move |failure| {
        if !std::mem::replace(&mut told, true) {
            let message = format!("{failure}: {}", failure.source);
            control.send(&Event::DiskFailed { slot, message });
        }
    })
}

fn serve(slots: Vec<Plugged<BlockDevice>>, gate: Arc<Gate>) -> io::Result<()> {
    let poller = Poller::new()?;
    for (index, slot) in slots.iter().enumerate() {
        poller.add(&slot.notified, index as u64, Watch::Readable)?;
    }
    thread::Builder::new().name("disks".into()).spawn(move || {
        loop {
            let ready = poller
                .wait()
                .unwrap_or_else(|error| panic!("cannot wait for disk requests: {error}"));
            let _inside = gate.enter();
            for event in ready {
                let slot = &slots[event.token as usize];
                if slot.notified.take().is_ok_and(|notified| notified) {
                    lock(&slot.device).notify(0);
                }
            }
        }
    })?;
    Ok(())
}
