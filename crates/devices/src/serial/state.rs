//! What a saved VM remembers of its serial port.

use serde::{Deserialize, Serialize};

/// The registers of the port. The bytes of this in a state file are frozen by a test; whoever changes it counts
/// [`ConsoleState::VERSION`] up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// Divisor latch, low and high byte.
    pub divisor: [u8; 2],
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// Interrupt identification register.
    pub interrupt_identification: u8,
    /// Line control register.
    pub line_control: u8,
    /// Line status register.
    pub line_status: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Modem status register.
    pub modem_status: u8,
    /// Scratch register.
    pub scratch: u8,
    /// What the port received and the guest did not read: in loopback mode, its own bytes.
    pub received: Vec<u8>,
}

impl ConsoleState {
    /// Version of the section a saved VM keeps it in.
    pub const VERSION: u16 = 1;
}

/// Why a port cannot go on from what was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleRestoreError {
    /// More than its FIFO holds.
    #[error("the serial port was saved with {found} bytes received, its FIFO holds {most}")]
    Received {
        /// Bytes saved.
        found: usize,
        /// Bytes there is room for.
        most: usize,
    },
}

/// Bytes in the FIFO of a 16550, as emulated.
pub(super) const FIFO: usize = 64;

impl From<vm_superio::SerialState> for ConsoleState {
    fn from(state: vm_superio::SerialState) -> Self {
        Self {
            divisor: [state.baud_divisor_low, state.baud_divisor_high],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            received: state.in_buffer,
        }
    }
}

impl From<&ConsoleState> for vm_superio::SerialState {
    fn from(state: &ConsoleState) -> Self {
        let [baud_divisor_low, baud_divisor_high] = state.divisor;
        Self {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.received.clone(),
        }
    }
}
