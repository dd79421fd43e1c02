//! How much a layer may ask of us.

/// Bounds on one layer. Memory is bounded by the entries and their metadata, disk by the bytes of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the archive, whiteouts included.
    pub max_entries: u64,
    /// Character and block devices among them.
    pub max_devices: u64,
    /// Bytes of names, link targets and extended attributes in all.
    pub max_metadata_bytes: u64,
    /// Bytes of the uncompressed stream.
    pub max_stream_bytes: u64,
    /// Length of one file, holes included.
    pub max_file_bytes: u64,
    /// Lengths of all files, holes included.
    pub max_data_bytes: u64,
}

impl Default for Limits {
    /// A hundred times what large published images need.
    fn default() -> Self {
        Self {
            max_entries: 1_000_000,
            max_devices: 4096,
            max_metadata_bytes: 256 << 20,
            max_stream_bytes: 64 << 30,
            max_file_bytes: 1 << 40,
            max_data_bytes: 2 << 40,
        }
    }
}
