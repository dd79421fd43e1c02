//! How a device hangs on the machine: its register page, its interrupt line, and the two writes of the
//! driver that never leave the kernel.

use crate::arch::layout::Slot;
use crate::bus::{Bus, Shared, lock};
use crate::error::VmmError;
use crate::event::Token;
use crate::hypervisor::{IrqLine, Vm, WriteEvent};
use crate::machine::{refused, section};
use crate::os::{Poller, Watch};
use devices::GuestMemory;
use devices::virtio::mmio::{MmioTransport, RegisterPage, register};
use devices::virtio::{Doorbell, Interrupt, VirtioDevice};
use proto::control::Step;
use snapshot::state::{State, StateWriter};
use std::sync::{Arc, Mutex};
use vm_memory::MmapRegion;

/// What a slot needs of the machine.
pub struct Backplane<'a> {
    /// The machine.
    pub vm: &'a Vm,
    /// Guest memory.
    pub memory: &'a GuestMemory,
    /// The register pages of all slots.
    pub pages: &'a Arc<MmapRegion>,
    /// Where acknowledgements of configuration changes are awaited.
    pub poller: &'a Arc<Poller>,
}

/// A device in its slot.
pub struct Plugged<D> {
    /// The device behind its registers.
    pub device: Shared<D>,
    /// Counts the driver's notifications and the device's own rings.
    pub notified: WriteEvent,
    /// Counts acknowledged interrupts.
    pub interrupt: Arc<SlotInterrupt>,
}

impl<D: VirtioDevice> Plugged<D> {
    /// Writes the device's section.
    pub fn save(&self, name: &str, sections: &mut StateWriter) {
        sections.put(name, D::STATE_VERSION, &lock(&self.device).save());
    }

    /// Makes the device what it was.
    pub fn restore(&self, name: &str, sections: &State) -> Result<(), VmmError> {
        let state = section(sections, name, D::STATE_VERSION)?;
        lock(&self.device).restore(&state).map_err(refused(name))
    }

    /// Lets the device look at its queues if its driver or its own bell asked for it.
    pub fn serve(&self, queues: std::ops::Range<u32>) {
        if self.notified.take().unwrap_or(false) {
            let mut device = lock(&self.device);
            queues.for_each(|queue| device.notify(queue));
        }
    }

    /// After a restore: tells the driver what it missed, and lets the device look at its queues.
    pub fn announce(&self) {
        lock(&self.device).announce();
        self.notified.pretend();
    }
}

/// Rings by pretending that the driver notified.
struct Ring(WriteEvent);

impl Doorbell for Ring {
    fn ring(&self) {
        self.0.pretend();
    }
}

impl Backplane<'_> {
    /// Makes a device with `make`, plugs it in and puts it on the bus.
    pub fn plug<D: VirtioDevice + 'static>(
        &self,
        slot: Slot,
        bus: &mut Bus,
        make: impl FnOnce(Box<dyn Doorbell>) -> D,
    ) -> Result<Plugged<D>, VmmError> {
        let notified = self
            .vm
            .write_event(slot.address() + register::QUEUE_NOTIFY)?;
        let bell = notified
            .try_clone()
            .map_err(VmmError::at(Step::Device, "cannot make a doorbell"))?;
        let page = RegisterPage::new(Arc::clone(self.pages), slot.index());
        let interrupt = Arc::new(SlotInterrupt {
            slot,
            line: self.vm.irq_line(slot.irq())?,
            acknowledged: self
                .vm
                .write_event(slot.address() + register::INTERRUPT_ACK)?,
            page: page.clone(),
            poller: Arc::clone(self.poller),
        });
        let device = make(Box::new(Ring(bell)));
        let transport = MmioTransport::new(
            device,
            self.memory.clone(),
            page,
            Arc::clone(&interrupt) as Arc<dyn Interrupt>,
        );
        let device = Arc::new(Mutex::new(transport));
        bus.insert(slot, &device);
        Ok(Plugged {
            device,
            notified,
            interrupt,
        })
    }
}

/// A slot's way to interrupt its driver.
pub struct SlotInterrupt {
    slot: Slot,
    line: IrqLine,
    acknowledged: WriteEvent,
    page: RegisterPage,
    poller: Arc<Poller>,
}

impl SlotInterrupt {
    /// The driver acknowledged an interrupt after a configuration change: it has seen the change.
    pub fn config_acknowledged(&self) {
        self.page.clear_config_change();
        // Ordinary interrupts are acknowledged too, and nobody wants to hear of those.
        let _ = self.poller.remove(&self.acknowledged);
    }
}

impl Interrupt for SlotInterrupt {
    fn signal_used(&self) {
        self.line.trigger();
    }

    fn signal_config(&self) {
        // Whatever was acknowledged so far was not this change.
        let _ = self.acknowledged.take();
        self.page.raise_config_change();
        // Already watched if the driver has not answered the change before this one: that is fine.
        let _ = self.poller.add(
            &self.acknowledged,
            Token::ConfigAcknowledged(self.slot).into(),
            Watch::Readable,
        );
        self.line.trigger();
    }
}
