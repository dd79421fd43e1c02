//! The memory file: guest RAM at its own offset, sparse, and behind it the table of runs.
//!
//! Guest RAM is linear here: what lies below the hole for devices comes first, what lies above it follows at once.
//! A page is at its own place in the file, so that a file can be mapped as it is. The table says which pages the
//! file is about; a page it does not name comes from the layer below, or is zero if there is none.

mod content;
mod error;
mod merged;
mod run;
mod stream;
mod table;

#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;

pub use content::digest;
pub use error::MemoryError;
pub use merged::Merged;
pub use run::{PAGE_SIZE, Run, RunKind, RunsError};
pub use stream::{Received, receive};
pub use table::{read_runs, write_runs};
