//! The tree of an image: its layers' indexes laid over each other, bottom first
//! ([OCI layer specification, "Applying Changesets"](https://github.com/opencontainers/image-spec/blob/main/layer.md#applying-changesets)).
//!
//! Nothing here follows a link. A path of an upper layer goes through directories only; where the layers below have
//! something else on the way, a directory takes its place, as in an overlay mount of the layers.

mod merge;

use crate::layer::Bytes;
use crate::layer::attributes::Attributes;
use crate::layer::index::{DeviceNumber, Extent};
use std::collections::BTreeMap;

pub(crate) use merge::MergeError;

/// All files of an image.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The first is the root. Some may not be reachable any more.
    pub(crate) directories: Vec<Directory>,
    /// Everything that is not a directory; some may not be reachable any more.
    pub(crate) inodes: Vec<Inode>,
}

/// A directory of the image.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) attributes: Attributes,
    pub(crate) children: BTreeMap<Bytes, Node>,
}

/// What a name stands for: a position in one of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Directory(u32),
    Inode(u32),
}

/// Something that is not a directory, under however many names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) attributes: Attributes,
    pub(crate) content: Content,
}

/// What an inode holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// In the data of the layer with this number, counted from the bottom.
    File {
        layer: u32,
        extent: Extent,
    },
    Symlink(Bytes),
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
    Fifo,
    Socket,
}

pub(crate) const ROOT: u32 = 0;

impl Tree {
    /// A tree with an empty root.
    pub(crate) fn new() -> Self {
        let root = Directory {
            attributes: Attributes::implied_directory(),
            children: BTreeMap::new(),
        };
        Self {
            directories: vec![root],
            inodes: Vec::new(),
        }
    }
}
