//! How an index is written.
//!
//! ```text
//!  0       8         12     16         24         32        64            68               72
//!  | magic | version | zero | body_len | data_len | diff_id | crc32c body | crc32c of 0..68 | body ...
//! ```
//!
//! Numbers are little-endian; the body is postcard.

use super::super::Damage;
use super::Index;
use crate::digest::Digest;

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
}

#[cfg(test)]
mod tests {
    use super::super::super::Bytes;
    use super::super::super::attributes::{Attributes, Namespace, Timestamp, Xattr};
    use super::super::{Child, Content, DeviceNumber, Directory, Extent, Hides, Inode};
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
        assert_eq!(text, include_str!("../golden/index-v1.hex").trim());
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
