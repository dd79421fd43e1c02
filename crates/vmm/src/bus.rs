//! From an address to a device: what a vCPU's exit needs to find its way.

use crate::arch::layout::Slot;
use devices::virtio::VirtioDevice;
use devices::virtio::mmio::MmioTransport;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A virtio device behind its registers, shared by the vCPUs and the thread that processes its queues.
pub type Shared<D> = Arc<Mutex<MmioTransport<D>>>;

/// Locks a device. A thread that panicked holding it takes the VM down anyway (see `main`).
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The register page of some device.
trait Registers: Send + Sync {
    fn write(&self, offset: u64, data: &[u8]);
}

impl<D: VirtioDevice> Registers for Mutex<MmioTransport<D>> {
    fn write(&self, offset: u64, data: &[u8]) {
        lock(self).write(offset, data);
    }
}

/// A port device: the serial console.
pub trait Ports: Send {
    /// `out`, one byte.
    fn write(&mut self, offset: u8, value: u8);
    /// `in`, one byte.
    fn read(&mut self, offset: u8) -> u8;
    /// Passes on what is held back.
    fn flush(&mut self);
}

/// Command and status port of the keyboard controller, which is there only to reset the machine.
pub const KEYBOARD_PORT: u16 = 0x64;

const SERIAL_PORT: u16 = 0x3f8;
const SERIAL_PORTS: u16 = 8;

/// Everything a guest can reach by an exit.
pub struct Bus {
    slots: Vec<Option<Arc<dyn Registers>>>,
    serial: Arc<Mutex<dyn Ports>>,
}

impl Bus {
    /// A bus with only a serial console.
    pub fn new(serial: Arc<Mutex<dyn Ports>>) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(usize::from(Slot::COUNT), || None);
        Self { slots, serial }
    }

    /// Puts a device into its slot.
    pub fn insert<D: VirtioDevice + 'static>(&mut self, slot: Slot, device: &Shared<D>) {
        self.slots[slot.index()] = Some(Arc::clone(device) as Arc<dyn Registers>);
    }

    /// Passes on what the console holds back: a line without end.
    pub fn flush(&self) {
        lock(&self.serial).flush();
    }

    /// `out` to a port. What nobody listens to is lost, as on a PC.
    pub fn port_write(&self, port: u16, data: &[u8]) {
        if let Some(offset) = serial_offset(port) {
            let mut serial = lock(&self.serial);
            for &byte in data {
                serial.write(offset, byte);
            }
        }
    }

    /// `in` from a port. Where nobody is, all lines are high.
    pub fn port_read(&self, port: u16, data: &mut [u8]) {
        // The keyboard controller's status: input buffer empty. A kernel that resets through it asks first,
        // up to 65,536 times.
        data.fill(if port == KEYBOARD_PORT { 0 } else { 0xff });
        if let (Some(offset), [byte]) = (serial_offset(port), data) {
            *byte = lock(&self.serial).read(offset);
        }
    }

    /// A store outside of writable memory.
    pub fn mmio_write(&self, address: u64, data: &[u8]) {
        if let Some((slot, offset)) = Slot::at(address)
            && let Some(device) = &self.slots[slot.index()]
        {
            device.write(offset, data);
        }
    }
}

fn serial_offset(port: u16) -> Option<u8> {
    let offset = port.checked_sub(SERIAL_PORT)?;
    (offset < SERIAL_PORTS).then_some(offset as u8)
}
