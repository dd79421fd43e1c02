//! Where everything goes: order, positions, link counts.

use super::directory::Listing;
use super::disk::{BLOCK, FIRST_INODE, INODE_LEN, INODE_UNIT};
use crate::layer::attributes::{Attributes, xattr_body_len};
use crate::tree::{Content, Node, ROOT, Tree};
use std::collections::VecDeque;

/// The layout of the metadata.
pub(super) struct Plan {
    /// The inodes that have a name, root first, level by level: what one directory lists lies together.
    pub(super) items: Vec<Item>,
    /// Item of each directory and each other inode of the tree.
    directories: Vec<Option<u32>>,
    inodes: Vec<Option<u32>>,
    /// Blocks of superblock and inodes.
    pub(super) inode_blocks: u64,
    /// Blocks of all metadata.
    pub(super) blocks: u64,
}

/// An inode and its place.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) node: Node,
    /// The directory that `..` names; of a directory only.
    pub(super) parent: u32,
    pub(super) links: u32,
    /// `i_size`.
    pub(super) size: u64,
    /// Bytes behind the inode.
    pub(super) tail: u64,
    /// Blocks of directory entries or link target elsewhere in the metadata.
    pub(super) full_blocks: u64,
    pub(super) first_block: u64,
    /// Byte where the inode begins.
    pub(super) position: u64,
}

impl Plan {
    pub(super) fn new(tree: &Tree) -> Self {
        let mut plan = Self {
            items: Vec::with_capacity(tree.directories.len() + tree.inodes.len()),
            directories: vec![None; tree.directories.len()],
            inodes: vec![None; tree.inodes.len()],
            inode_blocks: 0,
            blocks: 0,
        };
        plan.enumerate(tree);
        plan.place(tree);
        plan
    }

    /// The number under which dirents refer to an inode.
    pub(super) fn nid(&self, node: Node) -> u64 {
        let item = match node {
            Node::Directory(id) => self.directories[id as usize],
            Node::Inode(id) => self.inodes[id as usize],
        };
        let item = item.expect("whatever has a name was enumerated");
        self.items[item as usize].position / INODE_UNIT
    }

    fn enumerate(&mut self, tree: &Tree) {
        self.directories[ROOT as usize] = Some(0);
        self.items.push(Item::new(Node::Directory(ROOT), ROOT, 2));
        let mut queue = VecDeque::from([ROOT]);
        while let Some(parent) = queue.pop_front() {
            for node in tree.directories[parent as usize].children.values() {
                let next = self.items.len() as u32;
                match *node {
                    Node::Directory(id) => {
                        queue.push_back(id);
                        self.directories[id as usize] = Some(next);
                        self.items.push(Item::new(*node, parent, 2));
                        // Its `..` is a link to the parent.
                        self.link(self.directories[parent as usize]);
                    }
                    Node::Inode(id) if self.inodes[id as usize].is_some() => {
                        self.link(self.inodes[id as usize]);
                    }
                    Node::Inode(id) => {
                        self.inodes[id as usize] = Some(next);
                        self.items.push(Item::new(*node, parent, 1));
                    }
                }
            }
        }
    }

    fn link(&mut self, item: Option<u32>) {
        if let Some(item) = item {
            self.items[item as usize].links += 1;
        }
    }

    fn place(&mut self, tree: &Tree) {
        let mut space = Space {
            cursor: FIRST_INODE,
            gap: 0..0,
        };
        for item in &mut self.items {
            let attributes = item.measure(tree);
            let head = INODE_LEN + xattr_body_len(&attributes.xattrs) as u64;
            // The tail may not reach into another block. If it cannot be kept from that, it gets a block of its own.
            if item.tail > 0 && head + item.tail > BLOCK {
                item.tail = 0;
                item.full_blocks += 1;
            }
            item.position = if item.tail > 0 {
                space.in_one_block(head + item.tail)
            } else {
                space.anywhere(head)
            };
        }
        self.inode_blocks = space.cursor.div_ceil(BLOCK);
        self.blocks = self.inode_blocks;
        for item in self.items.iter_mut().filter(|item| item.full_blocks > 0) {
            item.first_block = self.blocks;
            self.blocks += item.full_blocks;
        }
    }
}

impl Item {
    const fn new(node: Node, parent: u32, links: u32) -> Self {
        Self {
            node,
            parent,
            links,
            size: 0,
            tail: 0,
            full_blocks: 0,
            first_block: 0,
            position: 0,
        }
    }

    /// Fills in the sizes as they are if the tail fits behind the inode.
    fn measure<'t>(&mut self, tree: &'t Tree) -> &'t Attributes {
        match self.node {
            Node::Directory(id) => {
                let directory = &tree.directories[id as usize];
                let extent = Listing::new(directory, id, self.parent).extent();
                self.size = extent.full_blocks * BLOCK + extent.last;
                (self.full_blocks, self.tail) = (extent.full_blocks, extent.last);
                &directory.attributes
            }
            Node::Inode(id) => {
                let inode = &tree.inodes[id as usize];
                match &inode.content {
                    Content::File { extent, .. } => self.size = extent.size,
                    Content::Symlink(target) => {
                        self.size = target.len() as u64;
                        self.tail = self.size;
                    }
                    Content::CharDevice(_)
                    | Content::BlockDevice(_)
                    | Content::Fifo
                    | Content::Socket => {}
                }
                &inode.attributes
            }
        }
    }
}

/// Hands out room for inodes, front to back.
struct Space {
    cursor: u64,
    /// What was left over when something had to move on to the next block; later inodes go there.
    gap: std::ops::Range<u64>,
}

impl Space {
    fn anywhere(&mut self, len: u64) -> u64 {
        self.in_gap(len).unwrap_or_else(|| self.take(len))
    }

    fn in_one_block(&mut self, len: u64) -> u64 {
        if let Some(position) = self.in_gap(len) {
            return position;
        }
        let left = self.cursor.next_multiple_of(BLOCK) - self.cursor;
        if left < len {
            if left > self.gap.end - self.gap.start {
                self.gap = self.cursor..self.cursor + left;
            }
            self.cursor += left;
        }
        self.take(len)
    }

    /// A gap never reaches into another block.
    fn in_gap(&mut self, len: u64) -> Option<u64> {
        let position = self.gap.start;
        let end = position + len.next_multiple_of(INODE_UNIT);
        (end <= self.gap.end).then(|| {
            self.gap.start = end;
            position
        })
    }

    const fn take(&mut self, len: u64) -> u64 {
        let position = self.cursor;
        self.cursor += len.next_multiple_of(INODE_UNIT);
        position
    }
}
