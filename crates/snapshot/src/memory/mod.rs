//! The memory file: guest RAM at its own offset, sparse, and behind it the table of runs.
//!
//! Guest RAM is linear here: what lies below the hole for devices comes first, what lies above it follows at once.
//! A page is at its own place in the file, so that a file can be mapped as it is. The table says which pages the
//! file is about; a page it does not name comes from the layer below, or is zero if there is none.

mod content;
mod error;
mod run;
mod table;

#[cfg(test)]
mod tests;

pub use content::digest;
pub use error::MemoryError;
pub use run::{PAGE_SIZE, Run, RunKind, RunsError};
pub use table::{read_runs, write_runs};
