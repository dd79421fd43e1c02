//! A 16550 that only talks.

use std::convert::Infallible;
use std::io::Write;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

struct Line<F>(F);

impl<F: Fn()> Trigger for Line<F> {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        (self.0)();
        Ok(())
    }
}

/// The guest's serial port. What the guest sends goes to `W`; nothing is ever received.
pub struct Console<F: Fn(), W: Write> {
    serial: Serial<Line<F>, NoEvents, W>,
}

impl<F: Fn(), W: Write> Console<F, W> {
    /// A port that writes to `sink` and calls `interrupt` when its interrupt line goes up.
    pub fn new(interrupt: F, sink: W) -> Self {
        Self {
            serial: Serial::new(Line(interrupt), sink),
        }
    }

    /// The guest reads the register at `offset` from the port's base.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.serial.read(offset)
    }

    /// The guest writes the register at `offset` from the port's base.
    pub fn write(&mut self, offset: u8, value: u8) {
        // The guest must not notice that its output cannot be kept; the sink knows.
        let _ = self.serial.write(offset, value);
    }

    /// Where the output goes.
    pub fn sink(&self) -> &W {
        self.serial.writer()
    }

    /// Where the output goes, to flush it.
    pub fn sink_mut(&mut self) -> &mut W {
        self.serial.writer_mut()
    }
}
