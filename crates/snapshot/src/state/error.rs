//! What can be wrong with a state file.

use super::format::{FORMAT, MAGIC};

/// Why a state file cannot be used. Only [`StateError::Format`], [`StateError::Version`] and
/// [`StateError::Missing`] come from another release; anything else is damage.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file ends too early.
    #[error("the state file is truncated: {what} needs {needed} bytes and {found} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// How many bytes it needs.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// Something else than a state file.
    #[error("this is no state file: it begins with {found:02x?} instead of {MAGIC:02x?}")]
    Magic {
        /// Its first bytes.
        found: [u8; 8],
    },
    /// The layout is another one.
    #[error("the state file has format {found}, this release reads {FORMAT}")]
    Format {
        /// The file's format.
        found: u32,
    },
    /// The table of sections, or the header in front of it, is not what its digest says.
    #[error("the state file is damaged: its table of sections does not match its digest")]
    TableDamaged,
    /// The table matches its digest and makes no sense all the same.
    #[error("the state file's table of sections is malformed: {0}")]
    TableMalformed(&'static str),
    /// Two sections have one name.
    #[error("the state file has two sections named {name:?}")]
    Duplicate {
        /// Their name.
        name: String,
    },
    /// A section is not what its digest says.
    #[error("the state file is damaged: section {name:?} does not match its digest")]
    Damaged {
        /// Which section.
        name: String,
    },
    /// There is more behind the last section.
    #[error("the state file has {bytes} bytes behind its last section")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A section that is needed is not there.
    #[error("the state file has no section {name:?}")]
    Missing {
        /// Which section.
        name: String,
    },
    /// A section was written by a release that describes this part of the machine differently.
    #[error("section {name:?} of the state file has version {found}, this release reads {known}")]
    Version {
        /// Which section.
        name: String,
        /// The section's version.
        found: u16,
        /// The only one we read.
        known: u16,
    },
    /// A section's content is not the value it should be.
    #[error("section {name:?} of the state file cannot be decoded")]
    Value {
        /// Which section.
        name: String,
        /// What the decoder says.
        source: postcard::Error,
    },
    /// A section's value ends before its content does.
    #[error("section {name:?} of the state file has {bytes} bytes behind its value")]
    ValueTrailing {
        /// Which section.
        name: String,
        /// How many.
        bytes: usize,
    },
}
