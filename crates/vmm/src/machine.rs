//! The machine: everything between "here is what to boot" and "the vCPUs run", and what can be asked of it
//! afterwards.

use crate::arch::{self, MAX_VCPUS, layout, layout::Slot};
use crate::bus::{Bus, lock};
use crate::control::ControlSocket;
use crate::disks::{DiskSet, Disks};
use crate::entropy::HostEntropy;
use crate::error::VmmError;
use crate::event::Token;
use crate::hypervisor::kvm::{self, Vcpu};
use crate::hypervisor::{Access, Vm};
use crate::memory::{self, Ram};
use crate::os::{Poller, Ready, Watch};
use crate::serial::SerialPort;
use crate::slot::{Backplane, Plugged};
use crate::vcpu::VcpuThreads;
use devices::virtio::rng::Rng;
use devices::virtio::vsock::{ConnectionId, Readiness, Vsock};
use proto::control::{Boot, End, KernelFlavor, Step, VERSION};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use vm_memory::MmapRegion;

/// Descriptors that came with [`Boot`].
pub struct BootFiles {
    /// The kernels on offer.
    pub kernels: Vec<(KernelFlavor, File)>,
    /// The guest binary in its archive.
    pub initramfs: File,
    /// Where the console's output goes.
    pub console: File,
}

impl BootFiles {
    /// Sorts the descriptors of a `Boot` message.
    pub fn new(boot: &Boot, descriptors: Vec<OwnedFd>) -> Result<Self, VmmError> {
        let expected = boot.kernels.len() + 2;
        if descriptors.len() != expected {
            let message = format!(
                "a boot with {expected} files came with {} descriptors",
                descriptors.len()
            );
            return Err(VmmError::new(Step::Protocol, message));
        }
        let mut files: Vec<File> = descriptors.into_iter().map(File::from).collect();
        let console = files.remove(expected - 1);
        let initramfs = files.remove(expected - 2);
        Ok(Self {
            kernels: boot.kernels.iter().copied().zip(files).collect(),
            initramfs,
            console,
        })
    }
}

/// A machine that is set up and not yet running.
pub struct Machine {
    vcpus: Vec<Vcpu>,
    bus: Arc<Bus>,
    devices: Devices,
    /// The kernel that was chosen.
    pub kernel: KernelFlavor,
    /// KVM's hold on the machine; dropped last.
    vm: Vm,
}

/// The devices that the event loop serves itself, and the disks, which have a thread of their own.
struct Devices {
    vsock: Plugged<Vsock<UnixStream>>,
    rng: Plugged<Rng<HostEntropy>>,
    disks: Disks,
    poller: Arc<Poller>,
}

impl Machine {
    /// Builds the machine in the order that is cheapest for KVM: memory first, interrupt controllers after.
    pub fn build(
        boot: &Boot,
        mut files: BootFiles,
        disks: &mut DiskSet,
        control: &ControlSocket,
    ) -> Result<Self, VmmError> {
        check(boot)?;
        let kvm = kvm::open()?;
        let mut vm = Vm::new(&kvm)?;
        let Ram { regions, memory } = memory::allocate(boot.memory_mib)?;
        for (address, region) in regions {
            vm.map(address, region, Access::Writable)?;
        }
        let pages = register_pages()?;
        vm.map(layout::MMIO_BASE, Arc::clone(&pages), Access::ReadOnly)?;
        vm.create_interrupt_controllers()?;
        let vcpus = (0..boot.vcpus)
            .map(|id| vm.create_vcpu(id))
            .collect::<Result<Vec<_>, _>>()?;
        let flavor = vcpus[0].detect_flavor();
        let mut kernel = choose_kernel(flavor, boot, &mut files.kernels)?;
        for (id, vcpu) in (0..).zip(&vcpus) {
            vcpu.configure(&kvm, id, boot.vcpus)?;
        }
        let cmdline = arch::machine_cmdline(&boot.extra_cmdline);
        vcpus[0].set_boot_state(&arch::load(
            &memory,
            &mut kernel,
            &mut files.initramfs,
            &cmdline,
            boot.vcpus,
        )?)?;

        let serial = SerialPort::new(vm.irq_line(layout::SERIAL_IRQ)?, files.console);
        let mut bus = Bus::new(Box::new(serial));
        let poller =
            Arc::new(Poller::new().map_err(VmmError::at(Step::EventLoop, "cannot make a poller"))?);
        let backplane = Backplane {
            vm: &vm,
            memory: &memory,
            pages: &pages,
            poller: &poller,
        };
        let devices = Devices {
            disks: Disks::plug(&backplane, &mut bus, disks, control)?,
            vsock: backplane.plug(Slot::VSOCK, &mut bus, |bell| {
                Vsock::new(proto::guest::GUEST_CID, bell)
            })?,
            rng: backplane.plug(Slot::RNG, &mut bus, |bell| Rng::new(HostEntropy, bell))?,
            poller,
        };
        devices
            .watch()
            .map_err(VmmError::at(Step::EventLoop, "cannot watch the devices"))?;
        Ok(Self {
            vcpus,
            bus: Arc::new(bus),
            devices,
            kernel: flavor,
            vm,
        })
    }

    /// Sends the vCPUs into the guest.
    pub fn start(self, on_end: impl Fn(End) + Send + Clone + 'static) -> Result<Running, VmmError> {
        let vcpus = VcpuThreads::start(self.vcpus, &self.bus, on_end)?;
        Ok(Running {
            vcpus,
            bus: self.bus,
            devices: self.devices,
            _vm: self.vm,
        })
    }
}

fn check(boot: &Boot) -> Result<(), VmmError> {
    if boot.version != VERSION {
        let message = format!(
            "the library speaks control version {}, this VMM {VERSION}",
            boot.version
        );
        return Err(VmmError::new(Step::Protocol, message));
    }
    if boot.vcpus == 0 || usize::from(boot.vcpus) > MAX_VCPUS {
        let message = format!("a VM has 1 to {MAX_VCPUS} vCPUs, not {}", boot.vcpus);
        return Err(VmmError::new(Step::Config, message));
    }
    Ok(())
}

fn register_pages() -> Result<Arc<MmapRegion>, VmmError> {
    let size = usize::from(Slot::COUNT) * layout::MMIO_STRIDE as usize;
    MmapRegion::new(size)
        .map(Arc::new)
        .map_err(VmmError::at(Step::Memory, "cannot map the register pages"))
}

/// Takes the kernel that this host's KVM needs from those on offer.
fn choose_kernel(
    flavor: KernelFlavor,
    boot: &Boot,
    kernels: &mut Vec<(KernelFlavor, File)>,
) -> Result<File, VmmError> {
    if flavor == KernelFlavor::SoftwareKvm && boot.vcpus > 1 {
        let message = format!(
            "{} vCPUs asked for, but this host has a software KVM, whose guest kernel runs on one: use --cpus 1",
            boot.vcpus
        );
        return Err(VmmError::new(Step::Config, message));
    }
    let Some(index) = kernels.iter().position(|&(offered, _)| offered == flavor) else {
        let message = format!(
            "this host's KVM needs the guest kernel `kernel-{}`, which is not installed: run `supermachine setup`",
            flavor.name()
        );
        return Err(VmmError::new(Step::Kernel, message));
    };
    Ok(kernels.swap_remove(index).1)
}

impl Devices {
    fn watch(&self) -> std::io::Result<()> {
        self.poller
            .add(&self.vsock.notified, Token::Vsock.into(), Watch::Readable)?;
        self.poller
            .add(&self.rng.notified, Token::Rng.into(), Watch::Readable)
    }
}

/// A machine whose vCPUs run, or are paused.
pub struct Running {
    vcpus: VcpuThreads,
    bus: Arc<Bus>,
    devices: Devices,
    _vm: Vm,
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
                Some(Token::Rng) => self.serve_rng(),
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

    fn serve_rng(&self) {
        if self.devices.rng.notified.take().unwrap_or(false) {
            lock(&self.devices.rng.device).notify(0);
        }
    }

    /// Brings the machine to a standstill: no guest instruction, no device activity.
    pub fn pause(&self) {
        self.vcpus.pause();
        self.devices.disks.pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
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
