//! The structures on disk (`fs/erofs/erofs_fs.h` of the kernel).

use crate::layer::BLOCK_SIZE;
use crate::layer::attributes::{Attributes, Xattr, xattr_body_len};
use crate::layer::index::DeviceNumber;

pub(super) const BLOCK: u64 = BLOCK_SIZE;
const BLOCK_BITS: u8 = BLOCK.trailing_zeros() as u8;

/// Where the superblock is (`EROFS_SUPER_OFFSET`).
pub(crate) const SUPERBLOCK_OFFSET: u64 = 1024;
const SUPERBLOCK_LEN: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM` and `_MTIME`.
const FEATURES: u32 = 1 | 2;
const CHECKSUM_AT: usize = SUPERBLOCK_OFFSET as usize + 4;

/// The first inode, which is the root's.
pub(super) const FIRST_INODE: u64 = SUPERBLOCK_OFFSET + SUPERBLOCK_LEN as u64;
/// An inode's number is its position in units of this.
pub(super) const INODE_UNIT: u64 = 32;
/// The extended inode; the compact one knows no times and no large owners.
pub(super) const INODE_LEN: u64 = 64;
pub(super) const DIRENT_LEN: usize = 12;

// The root's number has 16 bits in the superblock.
const _: () = assert!(FIRST_INODE.is_multiple_of(INODE_UNIT) && FIRST_INODE / INODE_UNIT == 36);

pub(super) struct Superblock {
    pub(super) inodes: u64,
    pub(super) blocks: u32,
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    /// The bytes with a checksum of zero; [`seal`] fills it in.
    pub(super) fn encode(&self) -> [u8; SUPERBLOCK_LEN] {
        let mut bytes = [0; SUPERBLOCK_LEN];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&FEATURES.to_le_bytes());
        bytes[12] = BLOCK_BITS;
        bytes[14..16].copy_from_slice(&((FIRST_INODE / INODE_UNIT) as u16).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.inodes.to_le_bytes());
        // No build time, and inodes are counted from block 0: zeros.
        bytes[36..40].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.uuid);
        bytes
    }
}

/// Puts the superblock's checksum into the first block: CRC-32C from the superblock to the block's end, without the
/// final inversion (`erofs_superblock_csum_verify`).
pub(super) fn seal(first_block: &mut [u8]) {
    let checksum = !crc32c::crc32c(&first_block[SUPERBLOCK_OFFSET as usize..BLOCK as usize]);
    first_block[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// `EROFS_FT_*`, which dirents carry; the kernel and `fsck.erofs` believe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Socket = 6,
    Symlink = 7,
}

impl FileType {
    /// `S_IFMT` bits.
    const fn mode(self) -> u16 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// What an inode's `i_u` says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Data {
    None,
    Blocks(u32),
    Device(DeviceNumber),
}

impl Data {
    const fn encode(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Blocks(block) => block,
            // new_encode_dev()
            Self::Device(number) => {
                number.minor & 0xff | number.major << 8 | (number.minor & !0xff) << 12
            }
        }
    }
}

/// `struct erofs_inode_extended`.
pub(super) struct InodeRecord<'a> {
    pub(super) attributes: &'a Attributes,
    pub(super) file_type: FileType,
    /// Whether the last block follows the inode (`EROFS_INODE_FLAT_INLINE`), else all blocks are elsewhere.
    pub(super) inline: bool,
    pub(super) size: u64,
    pub(super) data: Data,
    pub(super) number: u32,
    pub(super) links: u32,
}

impl InodeRecord<'_> {
    pub(super) fn encode(&self) -> [u8; INODE_LEN as usize] {
        let Attributes {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        } = self.attributes;
        let format: u16 = if self.inline { 1 | 2 << 1 } else { 1 };
        let xattr_count = match xattr_body_len(xattrs) {
            0 => 0,
            body => 1 + (body - 12) / 4,
        };
        let mut bytes = [0; INODE_LEN as usize];
        bytes[0..2].copy_from_slice(&format.to_le_bytes());
        bytes[2..4].copy_from_slice(&(xattr_count as u16).to_le_bytes());
        bytes[4..6].copy_from_slice(&(self.file_type.mode() | mode).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.data.encode().to_le_bytes());
        bytes[20..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..28].copy_from_slice(&uid.to_le_bytes());
        bytes[28..32].copy_from_slice(&gid.to_le_bytes());
        bytes[32..40].copy_from_slice(&mtime.seconds.to_le_bytes());
        bytes[40..44].copy_from_slice(&mtime.nanoseconds.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.links.to_le_bytes());
        bytes
    }
}

/// The extended attributes behind an inode: `struct erofs_xattr_ibody_header` without shared ones, then each
/// `struct erofs_xattr_entry`.
pub(super) fn xattr_body(xattrs: &[Xattr]) -> Vec<u8> {
    if xattrs.is_empty() {
        return Vec::new();
    }
    let mut body = vec![0; 12];
    for xattr in xattrs {
        body.extend_from_slice(&[xattr.name.len() as u8, xattr.namespace as u8]);
        body.extend_from_slice(&(xattr.value.len() as u16).to_le_bytes());
        body.extend_from_slice(&xattr.name);
        body.extend_from_slice(&xattr.value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body
}

/// `struct erofs_dirent`.
pub(super) fn dirent(nid: u64, name_offset: u16, file_type: FileType) -> [u8; DIRENT_LEN] {
    let mut bytes = [0; DIRENT_LEN];
    bytes[0..8].copy_from_slice(&nid.to_le_bytes());
    bytes[8..10].copy_from_slice(&name_offset.to_le_bytes());
    bytes[10] = file_type as u8;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_the_kernels_new_encoding() {
        let encode = |major, minor| Data::Device(DeviceNumber { major, minor }).encode();
        assert_eq!(encode(1, 3), 0x103);
        assert_eq!(encode(0xfff, 0xfffff), 0xffff_ffff);
        assert_eq!(encode(8, 70_000), 0x1110_0870);
    }
}
