//! The devices of a machine, wherever they are served.

use super::chassis::Chassis;
use crate::arch::layout::{self, Slot};
use crate::bus::{Bus, Ports, lock};
use crate::control::ControlSocket;
use crate::disks::{DiskSet, Disks};
use crate::entropy::HostEntropy;
use crate::error::VmmError;
use crate::event::Token;
use crate::network::{Network, NetworkSet};
use crate::os::{Poller, Watch};
use crate::reclaim::ToHost;
use crate::serial::SerialPort;
use crate::slot::{Backplane, Plugged};
use devices::serial::ConsoleState;
use devices::virtio::balloon::Balloon;
use devices::virtio::rng::Rng;
use devices::virtio::vsock::Vsock;
use proto::control::Step;
use snapshot::state::{State, StateWriter};
use std::error::Error;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

/// The devices that the event loop serves itself, and the disks, which have a thread of their own.
pub(super) struct Devices {
    pub(super) vsock: Plugged<Vsock<UnixStream>>,
    pub(super) rng: Plugged<Rng<HostEntropy>>,
    pub(super) balloon: Plugged<Balloon<ToHost>>,
    pub(super) disks: Disks,
    pub(super) network: Network,
    pub(super) serial: Arc<Mutex<SerialPort>>,
    pub(super) poller: Arc<Poller>,
}

/// Sections of the devices' states.
const VSOCK: &str = "devices/vsock";
const RNG: &str = "devices/rng";
const BALLOON: &str = "devices/balloon";
const SERIAL: &str = "devices/serial";

impl Devices {
    /// Plugs everything in, as it is after a reset.
    pub(super) fn plug(
        chassis: &Chassis,
        console: File,
        (disks, network): (&mut DiskSet, &mut NetworkSet),
        control: &ControlSocket,
    ) -> Result<(Self, Bus), VmmError> {
        let line = chassis.vm.irq_line(layout::SERIAL_IRQ)?;
        let serial = Arc::new(Mutex::new(SerialPort::new(line, console)));
        let mut bus = Bus::new(Arc::clone(&serial) as Arc<Mutex<dyn Ports>>);
        let poller =
            Arc::new(Poller::new().map_err(VmmError::at(Step::EventLoop, "cannot make a poller"))?);
        let backplane = Backplane {
            vm: &chassis.vm,
            memory: &chassis.ram.memory,
            pages: &chassis.pages,
            poller: &poller,
        };
        let devices = Self {
            disks: Disks::plug(&backplane, &mut bus, disks, control)?,
            vsock: backplane.plug(Slot::VSOCK, &mut bus, |bell| {
                Vsock::new(proto::guest::GUEST_CID, bell)
            })?,
            rng: backplane.plug(Slot::RNG, &mut bus, |bell| Rng::new(HostEntropy, bell))?,
            balloon: backplane.plug(Slot::BALLOON, &mut bus, |bell| {
                Balloon::new(ToHost(chassis.ram.memory.clone()), bell)
            })?,
            network: Network::plug(&backplane, &mut bus, network, control)?,
            serial,
            poller,
        };
        devices
            .watch()
            .map_err(VmmError::at(Step::EventLoop, "cannot watch the devices"))?;
        Ok((devices, bus))
    }

    fn watch(&self) -> std::io::Result<()> {
        self.poller
            .add(&self.vsock.notified, Token::Vsock.into(), Watch::Readable)?;
        self.poller
            .add(&self.rng.notified, Token::Rng.into(), Watch::Readable)?;
        self.poller.add(
            &self.balloon.notified,
            Token::Balloon.into(),
            Watch::Readable,
        )
    }

    /// Writes every device's section. Nobody serves them meanwhile.
    pub(super) fn save(&self, sections: &mut StateWriter) {
        self.disks.save(sections);
        self.vsock.save(VSOCK, sections);
        self.rng.save(RNG, sections);
        self.balloon.save(BALLOON, sections);
        self.network.save(sections);
        let serial = lock(&self.serial).save();
        sections.put(SERIAL, ConsoleState::VERSION, &serial);
    }

    /// Makes every device what it was.
    pub(super) fn restore(&self, sections: &State) -> Result<(), VmmError> {
        self.disks.restore(sections)?;
        self.vsock.restore(VSOCK, sections)?;
        self.rng.restore(RNG, sections)?;
        self.balloon.restore(BALLOON, sections)?;
        self.network.restore(sections)?;
        let serial = section(sections, SERIAL, ConsoleState::VERSION)?;
        lock(&self.serial).restore(&serial)
    }

    /// Tells the drivers what they missed, once interrupts can reach them: disks of another size, buffers used
    /// just before the machine stopped. Doorbells rung just before are rung again.
    pub(super) fn announce(&self) {
        self.disks.announce();
        self.vsock.announce();
        self.rng.announce();
        self.balloon.announce();
        self.network.announce();
        lock(&self.serial).announce();
    }
}

/// A device's section.
pub(crate) fn section<T: serde::de::DeserializeOwned>(
    sections: &State,
    name: &str,
    version: u16,
) -> Result<T, VmmError> {
    sections
        .get(name, version)
        .map_err(|error| VmmError::new(Step::Restore, with_causes(&error)))
}

/// For `map_err`: a section that a device does not take.
pub(crate) fn refused<E: Error>(name: &str) -> impl FnOnce(E) -> VmmError {
    let name = name.to_owned();
    move |error| {
        VmmError::new(
            Step::Restore,
            format!("section {name}: {}", with_causes(&error)),
        )
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
