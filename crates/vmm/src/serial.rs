//! The serial console, connected to its interrupt line and to the console log.

use crate::bus::Ports;
use crate::error::VmmError;
use crate::hypervisor::IrqLine;
use crate::machine::refused;
use devices::serial::{BoundedLog, Console, ConsoleState};
use std::fs::File;

/// What a guest may write to its console before the rest is dropped. Only the kernel and PID 1 write there;
/// the workload's output takes another way.
const CONSOLE_LIMIT: u64 = 4 << 20;

/// The console of a machine.
pub struct SerialPort(Console<Box<dyn Fn() + Send>, BoundedLog<File>>);

impl SerialPort {
    /// A console that interrupts through `line` and writes to `log`.
    pub fn new(line: IrqLine, log: File) -> Self {
        let interrupt: Box<dyn Fn() + Send> = Box::new(move || line.trigger());
        Self(Console::new(interrupt, BoundedLog::new(log, CONSOLE_LIMIT)))
    }
}

impl SerialPort {
    /// The registers.
    pub fn save(&self) -> ConsoleState {
        self.0.save()
    }

    /// After a restore: interrupts again if the guest was not told that the port can take more.
    pub fn announce(&mut self) {
        self.0.announce();
    }

    /// Sets the registers. The log starts anew.
    pub fn restore(&mut self, state: &ConsoleState) -> Result<(), VmmError> {
        self.0.restore(state).map_err(refused("devices/serial"))
    }
}

impl Ports for SerialPort {
    fn write(&mut self, offset: u8, value: u8) {
        self.0.write(offset, value);
    }

    fn read(&mut self, offset: u8) -> u8 {
        self.0.read(offset)
    }

    fn flush(&mut self) {
        self.0.sink_mut().write_partial_line();
    }
}
