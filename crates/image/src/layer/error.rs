//! What can be wrong with a layer.

use crate::digest::Digest;
use crate::fsutil::FsError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A layer that could not be imported, found, checked or removed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A step on the store's or the user's files failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The stream the layer comes from failed.
    #[error("cannot read the layer's archive")]
    Read(#[source] io::Error),
    /// The stream is not the tar format.
    #[error(
        "the layer is not a good tar archive: {reason} (byte {offset} of the uncompressed layer)"
    )]
    Malformed {
        /// Where the header at fault begins.
        offset: u64,
        /// What is wrong with it.
        reason: Malformation,
    },
    /// An entry asks for something no honest image contains, or for more than the limits allow.
    #[error("refused the layer's entry {entry}: {reason}")]
    Refused {
        /// The entry as the archive or directory spells it.
        entry: EntryName,
        /// Why.
        reason: Refusal,
    },
    /// The uncompressed stream is not the one the image's config names.
    #[error("the uncompressed layer is {found}, but the image's config says {expected}")]
    DiffId {
        /// From the config.
        expected: Digest,
        /// From the stream.
        found: Digest,
    },
    /// A file or directory changed while it was being read.
    #[error("{} changed while it was read: try again when nothing writes to it", .0.display())]
    Changed(PathBuf),
    /// The layer's files in the store are not what was written.
    #[error("the stored layer is damaged: {what} ({}); remove the image and pull it again", .path.display())]
    Damaged {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        what: Damage,
    },
}

/// The name of an entry, printable whatever its bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryName(pub Box<[u8]>);

impl EntryName {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognize it; a hostile name may be a megabyte.
        const SHOWN: usize = 512;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        let dots = if shown.len() < self.0.len() {
            "..."
        } else {
            ""
        };
        match std::str::from_utf8(shown) {
            Ok(text) => write!(f, "\"{}{dots}\"", text.escape_debug()),
            Err(_) => write!(f, "\"{}{dots}\"", shown.escape_ascii()),
        }
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a stream fails to be a tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// The stream ends where a header, an entry's data or its padding should be.
    #[error("it ends in the middle of an entry")]
    Truncated,
    /// The sum over the header is wrong.
    #[error("a header's checksum is wrong")]
    Checksum,
    /// A number is neither octal nor base-256, or does not fit.
    #[error("the number in the field {0:?} is unreadable")]
    Number(&'static str),
    /// A PAX extended header is not `LENGTH KEY=VALUE` lines.
    #[error("a PAX extended header is unreadable")]
    Pax,
    /// An extended header or long name of more than [`crate::layer::MAX_EXTENSION_BYTES`].
    #[error("an extended header is larger than 1 MiB")]
    ExtensionSize,
    /// An extended header or long name that no entry follows.
    #[error("an extended header is not followed by its entry")]
    LoneExtension,
    /// One block of zeros where two end the archive, then something else.
    #[error("a zero block is followed by more entries")]
    LoneZeroBlock,
}

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name, or the target of a hardlink, starts at the root.
    #[error("an absolute path could name a place outside of the image")]
    Absolute,
    /// The name, or the target of a hardlink, has a `..` in it.
    #[error("a path with \"..\" could name a place outside of the image")]
    ParentComponent,
    /// Nothing is left of the name.
    #[error("the name is empty")]
    EmptyName,
    /// A NUL byte in a name or target.
    #[error("a NUL byte cannot be part of a name")]
    NulByte,
    /// A component of more than 255 bytes.
    #[error("a name of more than 255 bytes")]
    NameTooLong,
    /// A path of more than 4095 bytes.
    #[error("a path of more than 4095 bytes")]
    PathTooLong,
    /// An entry below something that is no directory, most likely a symlink to somewhere else.
    #[error("{0} is not a directory in this layer, and links are not followed")]
    BelowNonDirectory(EntryName),
    /// The root is something else than a directory.
    #[error("the root of the image must be a directory")]
    RootNotDirectory,
    /// A hardlink to nothing.
    #[error("a hardlink to {0}, which does not exist")]
    LinkTargetMissing(EntryName),
    /// A hardlink to a directory.
    #[error("a hardlink to {0}, which is a directory")]
    LinkToDirectory(EntryName),
    /// A hardlink whose target is not a path inside of the image.
    #[error("a hardlink to {0}: {1}")]
    LinkTarget(EntryName, Box<Self>),
    /// `.wh.`, `.wh..`, `.wh...`, or something below a whiteout.
    #[error("a whiteout of nothing that can exist")]
    Whiteout,
    /// A symlink to nothing, or to more than 4095 bytes.
    #[error("a symlink's target must have 1 to 4095 bytes, this one has {0}")]
    SymlinkTarget(usize),
    /// A type of entry that no file system has.
    #[error("unknown type of entry {:?}", char::from(*.0))]
    Type(u8),
    /// A user or group id beyond 32 bits.
    #[error("{0} is no user or group id")]
    Id(i64),
    /// A device number beyond 12 bits of major and 20 bits of minor.
    #[error("no device can have the number {0}:{1}")]
    DeviceNumber(i64, i64),
    /// A map of a sparse file that is unreadable, unordered or contradicts the sizes.
    #[error("the map of a sparse file is wrong")]
    SparseMap,
    /// A negative or otherwise impossible size.
    #[error("{0} is no size")]
    Size(i64),
    /// An extended attribute whose name is empty or over 255 bytes.
    #[error("an extended attribute's name must have 1 to 255 bytes after its prefix")]
    XattrName,
    /// An extended attribute of more than 65,535 bytes.
    #[error("the extended attribute {0} has more than 65535 bytes")]
    XattrSize(EntryName),
    /// More extended attributes than an inode holds.
    #[error("extended attributes of more than 256 KiB")]
    XattrTotal,
    /// A POSIX ACL that the kernel would not read.
    #[error("a POSIX ACL that no kernel accepts")]
    Acl,
    /// Over one of the [`crate::layer::Limits`].
    #[error("over the limit of {limit} {what}")]
    Limit {
        /// The limit's value.
        limit: u64,
        /// What it limits.
        what: &'static str,
    },
}

/// What is wrong with a stored layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A file is missing.
    #[error("a file is missing")]
    Missing,
    /// Too short, or not beginning as it should.
    #[error("the index is not one")]
    Header,
    /// Written by another release.
    #[error("the index has format {found}, this release reads {expected}")]
    Version {
        /// In the file.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A checksum over the index is wrong.
    #[error("the index has a wrong checksum")]
    Checksum,
    /// The index belongs to another layer.
    #[error("the index belongs to {0}")]
    DiffId(Digest),
    /// A reference in the index points nowhere.
    #[error("the index contradicts itself")]
    Contradiction,
    /// The data has another length than the index says.
    #[error("the data has {found} bytes instead of {expected}")]
    Length {
        /// According to the index.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// The content of one file is not what was imported.
    #[error("the content of {0} is not what was imported")]
    Content(EntryName),
}
