//! The serial console: a 16550 whose output goes to a bounded log.

mod console;
mod log;
mod state;

pub use console::Console;
pub use log::{BoundedLog, TAIL_BYTES};
pub use state::{ConsoleRestoreError, ConsoleState};
