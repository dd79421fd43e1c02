//! The process around a VM, from the outside.

mod console;
mod error;
mod orders;
mod process;

pub use error::VmmError;
pub(crate) use orders::SavedFiles;
pub(crate) use process::{VmmConnector, VmmProcess};
