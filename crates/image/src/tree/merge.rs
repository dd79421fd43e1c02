//! Laying one more layer over a tree.

use super::{Content, Directory, Inode, Node, ROOT, Tree};
use crate::layer::attributes::Attributes;
use crate::layer::index::{self, Child, Hides, Index};
use crate::layer::{Bytes, EntryName, Refusal};
use std::collections::BTreeMap;

/// An entry that does not fit on the layers below.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MergeError {
    pub(crate) entry: EntryName,
    pub(crate) reason: Refusal,
}

impl Tree {
    /// Applies the layer that comes next, which is number `layer`.
    ///
    /// Whiteouts and opaque directories take away what the layers below have, never what this layer has, wherever in
    /// the archive they were. A hardlink to a name that is not in its own layer is to what the layers below had under
    /// that name, whatever else this layer does to it.
    pub(crate) fn apply(&mut self, layer: u32, index: Index) -> Result<(), MergeError> {
        let Index {
            inodes,
            directories,
        } = index;
        let mut merge = Merge {
            inodes: self.adopt(layer, inodes, &directories)?,
            tree: self,
        };
        let mut directories: Vec<_> = directories.into_iter().map(Some).collect();
        let mut pending = vec![(ROOT, 0u32)];
        while let Some((target, source)) = pending.pop() {
            let Some(source) = directories[source as usize].take() else {
                continue;
            };
            merge.directory(target, source, &mut pending);
        }
        Ok(())
    }

    /// Moves a layer's inodes into the tree. Returns where they are now.
    fn adopt(
        &mut self,
        layer: u32,
        inodes: Vec<index::Inode>,
        names: &[index::Directory],
    ) -> Result<Vec<u32>, MergeError> {
        let below = self.inodes.len();
        let mut places = Vec::with_capacity(inodes.len());
        for (number, inode) in inodes.into_iter().enumerate() {
            let content = match inode.content {
                index::Content::Below(target) => {
                    let place = self.find(&target, below).map_err(|reason| MergeError {
                        entry: index::path_of(names, Child::Inode(number as u32)),
                        reason,
                    })?;
                    places.push(place);
                    continue;
                }
                index::Content::File(extent) => Content::File { layer, extent },
                index::Content::Symlink(target) => Content::Symlink(target),
                index::Content::CharDevice(number) => Content::CharDevice(number),
                index::Content::BlockDevice(number) => Content::BlockDevice(number),
                index::Content::Fifo => Content::Fifo,
                index::Content::Socket => Content::Socket,
            };
            places.push(self.inodes.len() as u32);
            self.inodes.push(Inode {
                attributes: inode.attributes,
                content,
            });
        }
        Ok(places)
    }

    /// The inode that the layers so far have under a path.
    fn find(&self, path: &[u8], below: usize) -> Result<u32, Refusal> {
        let shown = || EntryName::new(path);
        let mut node = Node::Directory(ROOT);
        for component in path
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
        {
            let Node::Directory(id) = node else {
                return Err(Refusal::LinkTargetMissing(shown()));
            };
            let child = self.directories[id as usize].children.get(component);
            node = *child.ok_or_else(|| Refusal::LinkTargetMissing(shown()))?;
        }
        match node {
            Node::Directory(_) => Err(Refusal::LinkToDirectory(shown())),
            Node::Inode(id) => {
                debug_assert!(
                    (id as usize) < below,
                    "names are changed after all inodes are in"
                );
                Ok(id)
            }
        }
    }
}

struct Merge<'a> {
    tree: &'a mut Tree,
    /// Where the layer's inodes are in the tree.
    inodes: Vec<u32>,
}

impl Merge<'_> {
    /// Lays a directory of the layer over one of the tree; its subdirectories become `pending`.
    fn directory(&mut self, target: u32, source: index::Directory, pending: &mut Vec<(u32, u32)>) {
        let implied = match source.hides {
            Hides::All => Some(Attributes::implied_directory()),
            Hides::Nothing | Hides::Names => None,
        };
        let directory = &mut self.tree.directories[target as usize];
        if source.hides != Hides::Nothing {
            directory.children.clear();
        }
        if let Some(attributes) = source.attributes.or(implied) {
            directory.attributes = attributes;
        }
        for (name, child) in source.children {
            match child {
                Child::Whiteout => {
                    self.tree.directories[target as usize]
                        .children
                        .remove(&name);
                }
                Child::Inode(inode) => {
                    let node = Node::Inode(self.inodes[inode as usize]);
                    self.tree.directories[target as usize]
                        .children
                        .insert(name, node);
                }
                Child::Directory(source) => pending.push((self.subdirectory(target, name), source)),
            }
        }
    }

    /// The directory `name` of the tree, in place of whatever else was there.
    fn subdirectory(&mut self, parent: u32, name: Bytes) -> u32 {
        let id = self.tree.directories.len() as u32;
        match self.tree.directories[parent as usize].children.get(&name) {
            Some(Node::Directory(id)) => return *id,
            Some(Node::Inode(_)) | None => {}
        }
        self.tree.directories[parent as usize]
            .children
            .insert(name, Node::Directory(id));
        let attributes = Attributes::implied_directory();
        self.tree.directories.push(Directory {
            attributes,
            children: BTreeMap::new(),
        });
        id
    }
}
