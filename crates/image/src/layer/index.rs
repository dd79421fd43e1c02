//! The index of a layer: its names as a tree, its inodes as a table, and how both are written.
//!
//! ```text
//!  0       8         12       16         24         32        64            68        72
//!  | magic | version | zero   | body_len | data_len | diff_id | crc32c body | crc32c  | body ...
//!                                                                             of 0..68
//! ```
//!
//! Numbers are little-endian; the body is postcard. Nothing in it refers to itself: a directory's children come after
//! it in the table, so no chain of references is a circle, and no reader needs recursion.

use super::attributes::Attributes;
use super::bytes::Bytes;
use super::{BLOCK_SIZE, Damage, EntryName};
use crate::digest::Digest;
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

/// The fixed part in front of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_len: u64,
    pub(crate) data_len: u64,
    pub(crate) diff_id: Digest,
    body_checksum: u32,
}

const MAGIC: &[u8; 8] = b"SMLAYER\n";

/// Changes with every change of the bytes or their meaning.
pub(crate) const VERSION: u32 = 1;

impl Header {
    pub(crate) const LEN: usize = 72;

    /// Reads and checks the first [`Self::LEN`] bytes.
    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, Damage> {
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if bytes[..8] != *MAGIC {
            return Err(Damage::Header);
        }
        if u32_at(8) != VERSION {
            return Err(Damage::Version {
                found: u32_at(8),
                expected: VERSION,
            });
        }
        if u32_at(68) != crc32c::crc32c(&bytes[..68]) {
            return Err(Damage::Checksum);
        }
        Ok(Self {
            body_len: u64_at(16),
            data_len: u64_at(24),
            diff_id: Digest::from_bytes(bytes[32..64].try_into().expect("32 bytes")),
            body_checksum: u32_at(64),
        })
    }

    fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.data_len.to_le_bytes());
        bytes[32..64].copy_from_slice(self.diff_id.as_bytes());
        bytes[64..68].copy_from_slice(&self.body_checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..68]);
        bytes[68..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

impl Index {
    /// The body alone, which a directory's digest is computed over.
    pub(crate) fn encode_body(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("an index holds nothing postcard refuses")
    }

    /// The whole file of a layer.
    pub(crate) fn encode(body: &[u8], diff_id: Digest, data_len: u64) -> Vec<u8> {
        let body_checksum = crc32c::crc32c(body);
        let header = Header {
            body_len: body.len() as u64,
            data_len,
            diff_id,
            body_checksum,
        };
        [&header.encode()[..], body].concat()
    }

    /// Reads a whole file back and checks every reference in it.
    pub(crate) fn decode(file: &[u8]) -> Result<(Header, Self), Damage> {
        let (header, body) = file.split_first_chunk().ok_or(Damage::Header)?;
        let header = Header::decode(header)?;
        if header.body_len != body.len() as u64 || header.body_checksum != crc32c::crc32c(body) {
            return Err(Damage::Checksum);
        }
        let (index, rest) =
            postcard::take_from_bytes::<Self>(body).map_err(|_| Damage::Contradiction)?;
        if rest.is_empty() && index.is_consistent(header.data_len) {
            Ok((header, index))
        } else {
            Err(Damage::Contradiction)
        }
    }

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

#[cfg(test)]
mod tests {
    use super::super::attributes::{Namespace, Timestamp, Xattr};
    use super::*;

    fn sample() -> Index {
        let attributes = Attributes {
            mode: 0o4755,
            uid: 70_000,
            gid: 4_000_000_000,
            mtime: Timestamp {
                seconds: -2,
                nanoseconds: 500_000_000,
            },
            xattrs: vec![Xattr {
                namespace: Namespace::User,
                name: b"a"[..].into(),
                value: b"\0\n"[..].into(),
            }],
        };
        let plain = Attributes::implied_directory();
        let file = Content::File(Extent {
            offset: 4096,
            size: 5,
            checksum: 0xdead_beef,
        });
        let device = DeviceNumber {
            major: 1,
            minor: 70_000,
        };
        let contents = [
            file,
            Content::Symlink(b"../x"[..].into()),
            Content::CharDevice(device),
            Content::BlockDevice(device),
            Content::Fifo,
            Content::Socket,
            Content::Below(b"usr/bin/sh"[..].into()),
        ];
        let inodes = contents
            .map(|content| Inode {
                attributes: plain.clone(),
                content,
            })
            .into();
        let mut children: Vec<(Bytes, Child)> = (0..7)
            .map(|number: u32| {
                (
                    Bytes::from(&[b'a' + number as u8][..]),
                    Child::Inode(number),
                )
            })
            .collect();
        children.push((b"h"[..].into(), Child::Directory(1)));
        children.push((b"\xff"[..].into(), Child::Whiteout));
        let root = Directory {
            attributes: Some(attributes),
            hides: Hides::Names,
            children,
        };
        let implied = Directory {
            attributes: None,
            hides: Hides::All,
            children: vec![],
        };
        Index {
            inodes,
            directories: vec![root, implied],
        }
    }

    fn encoded() -> Vec<u8> {
        Index::encode(&sample().encode_body(), Digest::of(b"layer"), 8192)
    }

    /// Changing these bytes makes every stored layer unreadable: raise [`VERSION`] with them.
    #[test]
    fn the_format_is_frozen() {
        let text: String = encoded().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, include_str!("golden/index-v1.hex").trim());
        assert_eq!(VERSION, 1);
    }

    #[test]
    fn an_index_survives_a_round_trip() {
        let (header, index) = Index::decode(&encoded()).unwrap();
        assert_eq!(index, sample());
        assert_eq!(
            (header.data_len, header.diff_id),
            (8192, Digest::of(b"layer"))
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encoded();
        for byte in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[byte] ^= 1 << bit;
                assert!(Index::decode(&bad).is_err(), "byte {byte} bit {bit}");
            }
        }
        for len in 0..good.len() {
            assert!(Index::decode(&good[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn references_that_cannot_be_are_contradictions() {
        let check = |spoil: &dyn Fn(&mut Index)| {
            let mut index = sample();
            spoil(&mut index);
            let file = Index::encode(&index.encode_body(), Digest::of(b"layer"), 8192);
            assert_eq!(Index::decode(&file), Err(Damage::Contradiction));
        };
        check(&|index| index.directories[0].children[0].1 = Child::Inode(7));
        check(&|index| index.directories[0].children[7].1 = Child::Directory(2));
        check(&|index| index.directories[0].children[7].1 = Child::Directory(0));
        check(&|index| index.directories[0].children[7].1 = Child::Whiteout);
        check(&|index| index.directories[0].children[0].1 = Child::Directory(1));
        check(&|index| index.directories[0].children.swap(0, 1));
        check(&|index| index.directories.clear());
        check(&|index| {
            index.inodes[0].content = Content::File(Extent {
                offset: 4096,
                size: 4097,
                checksum: 0,
            });
        });
        check(&|index| {
            index.inodes[0].content = Content::File(Extent {
                offset: 512,
                size: 1,
                checksum: 0,
            });
        });
        check(&|index| {
            index.inodes[0].content = Content::File(Extent {
                offset: 4096,
                size: u64::MAX,
                checksum: 0,
            });
        });
    }
}
