//! The machine: everything between "here is what to boot" and "the vCPUs run", and what can be asked of it
//! afterwards.

mod boot;
mod chassis;
mod devices;
mod saved;

pub use boot::BootFiles;
pub(crate) use devices::{refused, section};
pub use saved::Source;

use crate::bus::{Bus, lock};
use crate::disks::DiskSet;
use crate::error::VmmError;
use crate::event::Token;
use crate::hypervisor::kvm::Vcpu;
use crate::hypervisor::{KvmHandle, Vm};
use crate::memory::Ram;
use crate::network::Network;
use crate::os::{Poller, Ready, Watch};
use crate::slot::Plugged;
use crate::vcpu::VcpuThreads;
use ::devices::virtio::vsock::{ConnectionId, Readiness, Vsock};
use chassis::Chassis;
use devices::Devices;
use proto::control::{End, KernelFlavor, Step};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A machine that is set up and not yet running.
pub struct Machine {
    vcpus: Vec<Vcpu>,
    bus: Arc<Bus>,
    devices: Devices,
    ram: Ram,
    kvm: KvmHandle,
    /// The kernel that was chosen.
    pub kernel: KernelFlavor,
    /// KVM's hold on the machine; dropped last.
    vm: Vm,
}

impl Machine {
    fn assemble(chassis: Chassis, devices: Devices, bus: Bus) -> Self {
        Self {
            vcpus: chassis.vcpus,
            bus: Arc::new(bus),
            devices,
            ram: chassis.ram,
            kvm: chassis.kvm,
            kernel: chassis.flavor,
            vm: chassis.vm,
        }
    }

    /// Sends the vCPUs into the guest.
    pub fn start(self, on_end: impl Fn(End) + Send + Clone + 'static) -> Result<Running, VmmError> {
        let vcpus = VcpuThreads::start(self.vcpus, &self.bus, on_end)?;
        Ok(Running {
            vcpus,
            bus: self.bus,
            devices: self.devices,
            ram: self.ram,
            kvm: self.kvm,
            kernel: self.kernel,
            vm: self.vm,
        })
    }
}

/// A machine whose vCPUs run, or are paused.
pub struct Running {
    vcpus: VcpuThreads,
    bus: Arc<Bus>,
    devices: Devices,
    ram: Ram,
    kvm: KvmHandle,
    kernel: KernelFlavor,
    vm: Vm,
}

impl Running {
    /// Where the devices' events arrive; readable when there is something for [`Running::serve`].
    pub fn poller(&self) -> &Poller {
        &self.devices.poller
    }

    /// Connects a stream to a port of the guest.
    pub fn connect(&self, stream: OwnedFd, port: u32) -> Result<(), VmmError> {
        let failed = || VmmError::at(Step::Device, "cannot use a stream for the guest");
        let stream = UnixStream::from(stream);
        stream.set_nonblocking(true).map_err(failed())?;
        // The registration belongs to the open socket, not to this descriptor of it: it lasts until the
        // device closes its own.
        let watched = stream.try_clone().map_err(failed())?;
        let mut transport = lock(&self.devices.vsock.device);
        let id = transport.device_mut().connect(stream, port);
        self.devices
            .poller
            .add(&watched, Token::Stream(id).into(), Watch::Edges)
            .map_err(failed())?;
        transport.device_mut().pump();
        Ok(())
    }

    /// Fills or empties a disk slot.
    pub fn set_disk(&self, slot: u8, set: &mut DiskSet) -> Result<(), VmmError> {
        self.devices.disks.replace(slot, set)
    }

    /// The network card.
    pub const fn network(&self) -> &Network {
        &self.devices.network
    }

    /// Handles a batch of device events. Returns the host ports that the guest knocked on.
    pub fn serve(&self, batch: &[Ready]) -> Vec<u32> {
        let mut sockets = Sockets {
            vsock: &self.devices.vsock,
            drain: false,
            ready: Vec::new(),
        };
        for event in batch {
            match Token::from_bits(event.token) {
                Some(Token::Vsock) => {
                    sockets.drain |= self.devices.vsock.notified.take().unwrap_or(false);
                }
                Some(Token::Stream(id)) => sockets.ready.push((id, readiness(*event))),
                Some(Token::Rng) => self.devices.rng.serve(0..1),
                Some(Token::Balloon) => self.devices.balloon.serve(0..3),
                Some(Token::ConfigAcknowledged(slot)) => {
                    if let Some(interrupt) = self.devices.disks.interrupt(slot) {
                        interrupt.config_acknowledged();
                    }
                }
                _ => {}
            }
        }
        sockets.serve()
    }

    /// Brings the machine to a standstill: no guest instruction, no device activity.
    pub fn pause(&self) {
        self.vcpus.pause();
        self.devices.disks.pause();
        self.devices.network.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.devices.network.resume();
        self.devices.disks.resume();
        self.vcpus.resume();
    }

    /// Passes on what the guest said last: bytes in the socket device's queue, a console line without end.
    pub fn flush(&self) {
        let mut sockets = Sockets {
            vsock: &self.devices.vsock,
            drain: true,
            ready: Vec::new(),
        };
        sockets.serve();
        self.bus.flush();
    }
}

/// A batch of work for the socket device, done under one lock and with at most one interrupt.
struct Sockets<'a> {
    vsock: &'a Plugged<Vsock<UnixStream>>,
    drain: bool,
    ready: Vec<(ConnectionId, Readiness)>,
}

/// Serving the transmit queue also sends what is due: one turn, at most one interrupt.
const VSOCK_TRANSMIT: u32 = 1;

impl Sockets<'_> {
    fn serve(&mut self) -> Vec<u32> {
        if !self.drain && self.ready.is_empty() {
            return Vec::new();
        }
        let mut transport = lock(&self.vsock.device);
        for &(id, readiness) in &self.ready {
            transport.device_mut().stream_ready(id, readiness);
        }
        if self.drain {
            transport.notify(VSOCK_TRANSMIT);
        } else {
            transport.device_mut().pump();
        }
        transport.device_mut().take_refused()
    }
}

const fn readiness(event: Ready) -> Readiness {
    Readiness {
        read: event.readable,
        write: event.writable,
        hangup: event.hangup,
    }
}
