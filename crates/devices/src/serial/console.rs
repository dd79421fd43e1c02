//! A 16550 that only talks.

use super::state::{ConsoleRestoreError, ConsoleState, FIFO};
use std::cell::Cell;
use std::convert::Infallible;
use std::io::Write;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, SerialState, Trigger};

/// Remembers that the interrupt line went up, so that the port and not the registers decide when to say so.
#[derive(Default)]
struct Line(Cell<bool>);

impl Trigger for Line {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.set(true);
        Ok(())
    }
}

/// Interrupt enable and interrupt identification bits that belong together: transmitter empty, data received.
const CAUSES: [(u8, u8); 2] = [(0b10, 0b010), (0b01, 0b100)];

/// The guest's serial port. What the guest sends goes to `W`; nothing is ever received.
pub struct Console<F: Fn(), W: Write> {
    /// The registers. What they send is passed on at once.
    serial: Serial<Line, NoEvents, Vec<u8>>,
    interrupt: F,
    sink: W,
}

impl<F: Fn(), W: Write> Console<F, W> {
    /// A port that writes to `sink` and calls `interrupt` when its interrupt line goes up.
    pub fn new(interrupt: F, sink: W) -> Self {
        Self {
            serial: Serial::new(Line::default(), Vec::new()),
            interrupt,
            sink,
        }
    }

    /// All there is to remember. What the guest sent is not part of it: the sink has it.
    pub fn save(&self) -> ConsoleState {
        self.serial.state().into()
    }

    /// Goes on where another port stopped. Interrupts nobody: call [`Console::announce`] when interrupts can be
    /// delivered. After an error everything is as it was.
    pub fn restore(&mut self, state: &ConsoleState) -> Result<(), ConsoleRestoreError> {
        let found = state.received.len();
        let state = SerialState::from(state);
        // The line cannot fail, so a FIFO that is too full is all that can be wrong.
        self.serial = Serial::from_state(&state, Line::default(), NoEvents, Vec::new())
            .map_err(|_| ConsoleRestoreError::Received { found, most: FIFO })?;
        self.serial.interrupt_evt().0.set(false);
        Ok(())
    }

    /// Interrupts the guest if it has an interrupt outstanding: it may have been lost between two lives, and there is
    /// no other until the guest has seen this one.
    pub fn announce(&self) {
        let state = self.serial.state();
        let outstanding = CAUSES.iter().any(|(enable, cause)| {
            state.interrupt_enable & enable != 0 && state.interrupt_identification & cause != 0
        });
        if outstanding {
            (self.interrupt)();
        }
    }

    /// The guest reads the register at `offset` from the port's base.
    pub fn read(&mut self, offset: u8) -> u8 {
        self.serial.read(offset)
    }

    /// The guest writes the register at `offset` from the port's base.
    pub fn write(&mut self, offset: u8, value: u8) {
        // Neither the line nor the memory that the registers send to can fail.
        let _ = self.serial.write(offset, value);
        let sent = self.serial.writer_mut();
        if !sent.is_empty() {
            // The guest must not notice that its output cannot be kept; the sink knows.
            let _ = self.sink.write_all(sent);
            sent.clear();
        }
        if self.serial.interrupt_evt().0.take() {
            (self.interrupt)();
        }
    }

    /// Where the output goes.
    pub const fn sink(&self) -> &W {
        &self.sink
    }

    /// Where the output goes, to flush it.
    pub const fn sink_mut(&mut self) -> &mut W {
        &mut self.sink
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io;

    const DATA: u8 = 0;
    const INTERRUPT_ENABLE: u8 = 1;
    const INTERRUPT_IDENTIFICATION: u8 = 2;
    const LINE_STATUS: u8 = 5;
    const SCRATCH: u8 = 7;

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
    fn a_restored_port_is_the_same_port() {
        let mut console = Console::new(|| (), io::sink());
        // Every register away from its default, the FIFO full by way of the loopback.
        for (offset, value) in [
            (3, 0x83),
            (0, 1),
            (1, 2),
            (3, 0x1b),
            (1, 3),
            (4, 0x1f),
            (7, 0x5a),
        ] {
            console.write(offset, value);
        }
        (0..100).for_each(|byte| console.write(DATA, byte));
        let state = console.save();
        let mut restored = Console::new(|| (), io::sink());
        restored.restore(&state).unwrap();
        assert_eq!(restored.save(), state);
        for offset in (0..100).map(|i| i % 8) {
            assert_eq!(restored.read(offset), console.read(offset), "{offset}");
        }
    }

    #[test]
    fn an_outstanding_interrupt_is_raised_when_announced_and_not_before() {
        let interrupts = Cell::new(0);
        let count = || interrupts.set(interrupts.get() + 1);
        let mut console = Console::new(count, io::sink());
        console.write(INTERRUPT_ENABLE, 2);
        let state = console.save();
        assert_eq!(interrupts.take(), 1);
        let mut restored = Console::new(count, io::sink());
        restored.restore(&state).unwrap();
        restored.write(SCRATCH, 1);
        assert_eq!(interrupts.take(), 0);
        restored.announce();
        assert_eq!(interrupts.take(), 1);
        restored.read(INTERRUPT_IDENTIFICATION);
        restored.announce();
        assert_eq!(interrupts.take(), 0, "the guest has seen it");
        restored.write(DATA, b'a');
        assert_eq!(interrupts.take(), 1, "the line was never let go");
    }

    #[test]
    fn more_than_the_fifo_holds_is_refused() {
        let mut console = Console::new(|| (), io::sink());
        let mut state = console.save();
        state.received = vec![0; 64];
        assert_eq!(console.restore(&state), Ok(()));
        state.received.push(0);
        let refused = ConsoleRestoreError::Received {
            found: 65,
            most: 64,
        };
        assert_eq!(console.restore(&state), Err(refused));
    }

    /// These bytes are in state files. If this test fails, count `ConsoleState::VERSION` up and freeze the new ones.
    #[test]
    fn the_bytes_of_a_saved_port_are_frozen() {
        let state = ConsoleState {
            divisor: [1, 2],
            interrupt_enable: 3,
            interrupt_identification: 4,
            line_control: 5,
            line_status: 6,
            modem_control: 7,
            modem_status: 8,
            scratch: 9,
            received: vec![0xaa, 0xbb],
        };
        let bytes = postcard::to_allocvec(&state).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 0xaa, 0xbb]);
        assert_eq!(ConsoleState::VERSION, 1);
        assert_eq!(postcard::from_bytes::<ConsoleState>(&bytes), Ok(state));
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
