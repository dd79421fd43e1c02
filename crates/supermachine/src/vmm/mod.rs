//! The process around a VM, from the outside.

mod console;
mod error;
mod process;

pub use error::VmmError;
pub(crate) use process::{VmmConnector, VmmProcess};
