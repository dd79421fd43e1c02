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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io;

    const DATA: u8 = 0;
    const INTERRUPT_ENABLE: u8 = 1;
    const LINE_STATUS: u8 = 5;

    #[test]
    fn what_the_guest_sends_comes_out() {
        let mut console = Console::new(|| (), Vec::new());
        b"hello".iter().for_each(|&byte| console.write(DATA, byte));
        assert_eq!(console.sink(), b"hello");
    }

    #[test]
    fn the_guest_is_interrupted_only_when_it_asks() {
        let interrupts = Cell::new(0);
        let mut console = Console::new(|| interrupts.set(interrupts.get() + 1), Vec::new());
        console.write(DATA, b'a');
        assert_eq!(interrupts.get(), 0);
        console.write(INTERRUPT_ENABLE, 2);
        console.write(DATA, b'b');
        assert!(interrupts.get() > 0);
    }

    #[test]
    fn the_transmitter_is_always_ready_even_if_the_sink_is_not() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut console = Console::new(|| (), Full);
        console.write(DATA, b'a');
        assert_eq!(console.read(LINE_STATUS) & 0x60, 0x60);
    }

    #[test]
    fn any_access_to_any_register_is_harmless() {
        let mut console = Console::new(|| (), io::sink());
        for offset in 0..=u8::MAX {
            for value in 0..=u8::MAX {
                console.write(offset, value);
                console.read(offset);
            }
        }
    }
}
