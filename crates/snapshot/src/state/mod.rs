//! The state file: named sections, each with a version and a digest of its own.
//!
//! A part of the machine puts one plain value into one section and gets it back by name and version. Whoever
//! changes such a value gives its section the next version, and files of the old one are then refused by name
//! instead of being misread.

mod error;
mod format;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::StateError;
pub use reader::State;
pub use writer::StateWriter;
