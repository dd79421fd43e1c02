//! The index of a layer: its names as a tree, its inodes as a table.
//!
//! Nothing in it refers to itself: a directory's children come after it in the table, so no chain of references is a
//! circle, and no reader needs recursion.

mod format;

use super::attributes::Attributes;
use super::bytes::Bytes;
use super::{BLOCK_SIZE, EntryName};
pub(crate) use format::Header;
use serde::{Deserialize, Serialize};

/// Every entry of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Everything that is not a directory.
    pub(crate) inodes: Vec<Inode>,
    /// The first is the root; each other is the child of exactly one before it.
    pub(crate) directories: Vec<Directory>,
}

/// Something that is not a directory, under however many names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inode {
    pub(crate) attributes: Attributes,
    pub(crate) content: Content,
}

/// What an inode holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    File(Extent),
    Symlink(Bytes),
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Fifo,
    Socket,
    /// A hardlink to this path in the layers below; the attributes are unused.
    Below(Bytes),
}

/// Where a file's bytes are in the layer's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// A multiple of [`BLOCK_SIZE`].
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// CRC-32C of the bytes and the zeros up to the next block.
    pub(crate) checksum: u32,
}

impl Extent {
    /// Bytes it takes in the data, padding included.
    pub(crate) const fn padded(&self) -> u64 {
        self.size.next_multiple_of(BLOCK_SIZE)
    }
}

/// Major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceNumber {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl DeviceNumber {
    /// `None` for what the kernel's 32 bits (12 of major, 20 of minor) cannot hold.
    pub(crate) fn new(major: i64, minor: i64) -> Option<Self> {
        let fits = (0..1 << 12).contains(&major) && (0..1 << 20).contains(&minor);
        fits.then_some(Self {
            major: major as u32,
            minor: minor as u32,
        })
    }
}

/// A directory of the layer, and what it does to the one of the same name below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    /// `None` if the layer has entries in it but none for it.
    pub(crate) attributes: Option<Attributes>,
    pub(crate) hides: Hides,
    /// Sorted by name as unsigned bytes.
    pub(crate) children: Vec<(Bytes, Child)>,
}

/// How much a directory takes away of what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Hides {
    Nothing,
    /// An opaque marker: the names in it.
    Names,
    /// A whiteout, or something that was not a directory: its attributes too.
    All,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Child {
    /// Position in [`Index::directories`].
    Directory(u32),
    /// Position in [`Index::inodes`].
    Inode(u32),
    /// The name is gone.
    Whiteout,
}

impl Index {
    /// Whether every reference leads somewhere, and every file lies in data of this length.
    fn is_consistent(&self, data_len: u64) -> bool {
        let fits = |extent: &Extent| {
            let end = extent
                .offset
                .checked_add(extent.size)
                .and_then(|end| end.checked_next_multiple_of(BLOCK_SIZE));
            extent.offset.is_multiple_of(BLOCK_SIZE) && end.is_some_and(|end| end <= data_len)
        };
        let inodes = self.inodes.iter().all(|inode| match &inode.content {
            Content::File(extent) => fits(extent),
            _ => true,
        });
        inodes && !self.directories.is_empty() && self.is_tree()
    }

    fn is_tree(&self) -> bool {
        let mut has_parent = vec![false; self.directories.len()];
        has_parent[0] = true;
        for (id, directory) in self.directories.iter().enumerate() {
            for (_, child) in &directory.children {
                let good = match *child {
                    Child::Directory(child) => match has_parent.get_mut(child as usize) {
                        Some(seen) => child as usize > id && !std::mem::replace(seen, true),
                        None => false,
                    },
                    Child::Inode(inode) => (inode as usize) < self.inodes.len(),
                    Child::Whiteout => true,
                };
                if !good {
                    return false;
                }
            }
            if !directory.children.is_sorted_by(|(a, _), (b, _)| a < b) {
                return false;
            }
        }
        has_parent.iter().all(|seen| *seen)
    }
}

/// One of the paths of an entry, for messages. Slow: it searches.
pub(crate) fn path_of(directories: &[Directory], mut wanted: Child) -> EntryName {
    let position = |wanted: Child| {
        directories
            .iter()
            .enumerate()
            .find_map(|(parent, directory)| {
                let (name, _) = directory
                    .children
                    .iter()
                    .find(|(_, child)| *child == wanted)?;
                Some((parent as u32, name))
            })
    };
    let mut components: Vec<&[u8]> = Vec::new();
    while let Some((parent, name)) = position(wanted) {
        components.push(name);
        wanted = Child::Directory(parent);
    }
    components.reverse();
    EntryName::new(&components.join(&b'/'))
}
