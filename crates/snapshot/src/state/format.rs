//! Where the bytes of a state file are. All numbers are little-endian.
//!
//! ```text
//! 0       8   magic
//! 8       4   version of the format
//! 12      4   T, bytes of the table
//! 16      T   the table: for each section, in order
//!                 1   N, bytes of its name
//!                 N   its name, UTF-8
//!                 2   its version
//!                 4   bytes of its content
//!                 32  SHA-256 of its content
//! 16+T    32  SHA-256 of everything in front
//! 48+T        the contents, in the table's order, and nothing behind them
//! ```

use crate::Digest;

/// First bytes of every state file.
pub const MAGIC: [u8; 8] = *b"SM-STATE";
/// Version of the layout above. A section has a version of its own.
pub const FORMAT: u32 = 1;
/// Bytes in front of the table.
pub const HEADER: usize = 16;
/// Bytes of a table entry besides its name.
pub const ENTRY: usize = 1 + 2 + 4 + Digest::LEN;
/// The longest name of a section.
pub const NAME_MAX: usize = u8::MAX as usize;

// The format is frozen: another value of any of these is another FORMAT.
const _: () = assert!(FORMAT == 1 && HEADER == 16 && ENTRY == 39 && NAME_MAX == 255);
