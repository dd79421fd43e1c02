//! What can be wrong with a memory file.

use super::run::{PAGE_SIZE, RunsError};
use super::table::{FORMAT, MAGIC};
use std::io;

/// Why a memory file cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Guest RAM is not a number of pages.
    #[error("{ram_bytes} bytes of guest memory are not a multiple of {PAGE_SIZE}")]
    Unaligned {
        /// Bytes of guest RAM.
        ram_bytes: u64,
    },
    /// The file's size could not be asked for.
    #[error("the size of the memory file cannot be read")]
    Size(#[source] io::Error),
    /// The table of runs could not be written.
    #[error("the table of runs cannot be written to the memory file")]
    Write(#[source] io::Error),
    /// The table of runs could not be read.
    #[error("the table of runs cannot be read from the memory file")]
    Read(#[source] io::Error),
    /// The contents of pages could not be read.
    #[error("page {page} cannot be read from the memory file")]
    ReadPage {
        /// The page where reading failed.
        page: u64,
        /// Why.
        source: io::Error,
    },
    /// The file ends too early to hold guest RAM and a table.
    #[error(
        "the memory file is truncated: it has {found} bytes, and {needed} or more belong to a memory of its size"
    )]
    Truncated {
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The file does not end where its table does.
    #[error("the memory file has {found} bytes, its table of runs ends at {needed}")]
    FileSize {
        /// Where the table ends.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// There is no table of runs where it should be: another memory size, or no memory file at all.
    #[error(
        "no table of runs behind {ram_bytes} bytes of guest memory: {found:02x?} instead of {MAGIC:02x?}"
    )]
    Magic {
        /// Bytes of guest RAM.
        ram_bytes: u64,
        /// What is there.
        found: [u8; 8],
    },
    /// The layout is another one.
    #[error("the memory file has format {found}, this release reads {FORMAT}")]
    Format {
        /// The file's format.
        found: u32,
    },
    /// The file says it belongs to a memory of another size.
    #[error("the memory file is of {found} bytes of guest memory, expected {ram_bytes}")]
    RamBytes {
        /// Bytes expected.
        ram_bytes: u64,
        /// Bytes the file says.
        found: u64,
    },
    /// The table is not what its digest says.
    #[error("the memory file is damaged: its table of runs does not match its digest")]
    Damaged,
    /// The runs make no sense.
    #[error("the memory file's table of runs is malformed")]
    Runs(#[from] RunsError),
    /// A page that no run says is in the file has content all the same.
    #[error("page {page} of the memory file has content, and the table of runs says it has none")]
    Stray {
        /// Which page.
        page: u64,
    },
    /// The contents of pages could not be written.
    #[error("page {page} cannot be written to the memory file")]
    WritePage {
        /// The page where writing failed.
        page: u64,
        /// Why.
        source: io::Error,
    },
    /// A memory on its way could not be sent or received.
    #[error("the memory cannot be transferred")]
    Stream(#[source] io::Error),
    /// A memory on its way is shorter or longer than its table says.
    #[error("the memory has {found} bytes, its table of runs says {needed}")]
    Length {
        /// What the table says.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A table too long to hold in memory.
    #[error("the memory is in {found} runs of pages; {max} can be transferred at most")]
    TooManyRuns {
        /// How many there are.
        found: usize,
        /// The most there may be.
        max: usize,
    },
    /// A chain that is too long.
    #[error("{found} layers cannot be merged; {max} can at most")]
    Layers {
        /// How many there are.
        found: usize,
        /// The most there may be.
        max: usize,
    },
}
