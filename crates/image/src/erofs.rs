//! The read-only file system's metadata: an erofs image whose files lie in other files behind it.
//!
//! erofs is the kernel's read-only file system
//! ([on-disk format](https://docs.kernel.org/filesystems/erofs.html)). Of its layouts three are enough: a file is one
//! plain run of blocks in its layer's data; directories and symlinks keep their last, partial block right behind
//! their inode. Nothing is compressed and no feature is used that Linux 5.4 could not read.
//!
//! ```text
//! 0      1024         1152                     multiple of 4096            metadata blocks
//! | free | superblock | inodes, xattrs, tails  | full blocks of directories | data of layer 0 | data of layer 1 ...
//! ```
//!
//! The first kilobyte is the boot sector's; the file system does not look at it.

mod directory;
mod disk;
mod plan;
mod sink;

use crate::digest::Digest;
use crate::tree::{Content, Directory, Inode, Node, Tree};
use directory::Listing;
use disk::{BLOCK, Data, InodeRecord, Superblock};
use plan::{Item, Plan};
use sink::Sink;
use std::io::{self, Write};

pub(crate) use disk::SUPERBLOCK_OFFSET;

/// Block addresses are 32 bits, and the highest means "none".
pub(crate) const MAX_BLOCKS: u64 = u32::MAX as u64;

/// An erofs image planned, not yet written.
pub(crate) struct Image<'t> {
    tree: &'t Tree,
    plan: Plan,
    /// Block where each layer's data begins.
    layer_blocks: Vec<u64>,
    blocks: u64,
    uuid: [u8; 16],
}

/// What has been written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// Bytes, a multiple of 4096.
    pub(crate) len: u64,
    /// Of all bytes from [`SUPERBLOCK_OFFSET`] on.
    pub(crate) digest: Digest,
}

impl<'t> Image<'t> {
    /// Decides where everything goes. `layers` are the lengths of the layers' data in bytes, bottom first.
    ///
    /// The error is the number of blocks, more than [`MAX_BLOCKS`], that the whole would need.
    pub(crate) fn plan(tree: &'t Tree, layers: &[u64], uuid: [u8; 16]) -> Result<Self, u64> {
        let plan = Plan::new(tree);
        let mut blocks = plan.blocks;
        let mut layer_blocks = Vec::with_capacity(layers.len());
        for len in layers {
            layer_blocks.push(blocks);
            blocks = blocks.saturating_add(len.div_ceil(BLOCK));
        }
        if blocks > MAX_BLOCKS {
            Err(blocks)
        } else {
            Ok(Self {
                tree,
                plan,
                layer_blocks,
                blocks,
                uuid,
            })
        }
    }

    /// Writes the metadata. The same tree gives the same bytes.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<Written> {
        let mut sink = Sink::new(out);
        let superblock = Superblock {
            inodes: self.plan.items.len() as u64,
            blocks: self.blocks as u32,
            uuid: self.uuid,
        };
        sink.pad_to(SUPERBLOCK_OFFSET)?;
        sink.put(&superblock.encode())?;
        let mut by_position: Vec<u32> = (0..self.plan.items.len() as u32).collect();
        by_position.sort_unstable_by_key(|number| self.plan.items[*number as usize].position);
        for number in by_position {
            self.write_inode(number, &mut sink)?;
        }
        sink.pad_to(self.plan.inode_blocks * BLOCK)?;
        for item in self.plan.items.iter().filter(|item| item.full_blocks > 0) {
            debug_assert_eq!(sink.position(), item.first_block * BLOCK);
            self.write_full_blocks(item, &mut sink)?;
        }
        sink.finish()
    }

    fn write_inode(&self, number: u32, sink: &mut Sink<'_>) -> io::Result<()> {
        let item = &self.plan.items[number as usize];
        sink.pad_to(item.position)?;
        let (attributes, data) = match item.node {
            Node::Directory(id) => (
                &self.directory(id).attributes,
                Data::Blocks(item.first_block as u32),
            ),
            Node::Inode(id) => {
                let inode = self.inode(id);
                (&inode.attributes, self.data(inode, item))
            }
        };
        let record = InodeRecord {
            attributes,
            file_type: file_type(self.tree, item.node),
            inline: item.tail > 0,
            size: item.size,
            data,
            number: number + 1,
            links: item.links,
        };
        sink.put(&record.encode())?;
        sink.put(&disk::xattr_body(&attributes.xattrs))?;
        if item.tail == 0 {
            return Ok(());
        }
        match item.node {
            Node::Directory(id) => self
                .listing(id, item)
                .write_tail(&self.plan, self.tree, sink),
            Node::Inode(id) => sink.put(symlink(self.inode(id))),
        }
    }

    fn write_full_blocks(&self, item: &Item, sink: &mut Sink<'_>) -> io::Result<()> {
        match item.node {
            Node::Directory(id) => {
                self.listing(id, item)
                    .write_full(item.full_blocks, &self.plan, self.tree, sink)?;
            }
            Node::Inode(id) => sink.put(symlink(self.inode(id)))?,
        }
        sink.pad_to((item.first_block + item.full_blocks) * BLOCK)
    }

    fn data(&self, inode: &Inode, item: &Item) -> Data {
        match &inode.content {
            Content::File { extent, .. } if extent.size == 0 => Data::None,
            Content::File { layer, extent } => {
                Data::Blocks((self.layer_blocks[*layer as usize] + extent.offset / BLOCK) as u32)
            }
            Content::Symlink(_) => Data::Blocks(item.first_block as u32),
            Content::CharDevice(number) | Content::BlockDevice(number) => Data::Device(*number),
            Content::Fifo | Content::Socket => Data::None,
        }
    }

    fn listing(&self, id: u32, item: &Item) -> Listing<'t> {
        Listing::new(self.directory(id), id, item.parent)
    }

    fn directory(&self, id: u32) -> &'t Directory {
        &self.tree.directories[id as usize]
    }

    fn inode(&self, id: u32) -> &'t Inode {
        &self.tree.inodes[id as usize]
    }
}

fn symlink(inode: &Inode) -> &[u8] {
    match &inode.content {
        Content::Symlink(target) => target,
        content => unreachable!("only symlinks keep data in the metadata, not {content:?}"),
    }
}

fn file_type(tree: &Tree, node: Node) -> disk::FileType {
    match node {
        Node::Directory(_) => disk::FileType::Directory,
        Node::Inode(id) => match tree.inodes[id as usize].content {
            Content::File { .. } => disk::FileType::Regular,
            Content::Symlink(_) => disk::FileType::Symlink,
            Content::CharDevice(_) => disk::FileType::CharDevice,
            Content::BlockDevice(_) => disk::FileType::BlockDevice,
            Content::Fifo => disk::FileType::Fifo,
            Content::Socket => disk::FileType::Socket,
        },
    }
}
