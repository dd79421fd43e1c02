//! From a sequence of entries, in whatever order an archive has them, to an index.

use super::attributes::Attributes;
use super::budget::Budget;
use super::bytes::Bytes;
use super::index::{Child, Content, Directory, Hides, Index, Inode};
use super::path::TreePath;
use super::{EntryName, Limits, Refusal};
use std::collections::{BTreeMap, VecDeque};

/// A layer while its entries arrive. A later entry replaces an earlier one of the same name, as in any archive.
#[derive(Debug)]
pub(crate) struct Builder {
    directories: Vec<OpenDirectory>,
    inodes: Vec<Inode>,
    budget: Budget,
}

#[derive(Debug)]
struct OpenDirectory {
    attributes: Option<Attributes>,
    hides: Hides,
    children: BTreeMap<Bytes, Child>,
}

impl OpenDirectory {
    const fn new(hides: Hides) -> Self {
        Self {
            attributes: None,
            hides,
            children: BTreeMap::new(),
        }
    }
}

const ROOT: u32 = 0;

impl Builder {
    /// A layer with an empty root.
    pub(crate) fn new(limits: &Limits) -> Self {
        let root = OpenDirectory::new(Hides::Nothing);
        Self {
            directories: vec![root],
            inodes: Vec::new(),
            budget: Budget::new(limits),
        }
    }

    /// A directory; one that is there already keeps its children and gets these attributes.
    pub(crate) fn directory(
        &mut self,
        path: &TreePath,
        attributes: Attributes,
    ) -> Result<(), Refusal> {
        self.budget.entry(&attributes.xattrs)?;
        let id = match path.split() {
            None => ROOT,
            Some((parent, name)) => {
                let parent = self.open(&parent)?;
                self.subdirectory(parent, name)?
            }
        };
        self.directories[id as usize].attributes = Some(attributes);
        Ok(())
    }

    /// Anything else than a directory. Returns its number, for [`Self::link_to`].
    pub(crate) fn inode(&mut self, path: &TreePath, inode: Inode) -> Result<u32, Refusal> {
        self.budget.entry(&inode.attributes.xattrs)?;
        match &inode.content {
            Content::Symlink(target) | Content::Below(target) => {
                self.budget.metadata(target.len())?;
            }
            Content::CharDevice(_) | Content::BlockDevice(_) => self.budget.device()?,
            Content::File(_) | Content::Fifo | Content::Socket => {}
        }
        let id = count(self.inodes.len());
        self.place(path, Child::Inode(id))?;
        self.inodes.push(inode);
        Ok(id)
    }

    /// One more name of an inode of this layer.
    pub(crate) fn link_to(&mut self, path: &TreePath, inode: u32) -> Result<(), Refusal> {
        self.budget.entry(&[])?;
        self.place(path, Child::Inode(inode))
    }

    /// One more name of what `target` names now, or of what it names in the layers below.
    pub(crate) fn hardlink(&mut self, path: &TreePath, target: &TreePath) -> Result<(), Refusal> {
        let shown = || EntryName::new(target.as_bytes());
        match self.find(target) {
            Found::Inode(inode) => self.link_to(path, inode),
            Found::Directory => Err(Refusal::LinkToDirectory(shown())),
            Found::Blocked => Err(Refusal::LinkTargetMissing(shown())),
            Found::MaybeBelow => {
                let content = Content::Below(target.as_bytes().into());
                self.inode(
                    path,
                    Inode {
                        attributes: Attributes::implied_directory(),
                        content,
                    },
                )
                .map(drop)
            }
        }
    }

    /// Removes a path of the layers below; what this layer has under the name stays, whatever the order.
    pub(crate) fn whiteout(&mut self, path: &TreePath) -> Result<(), Refusal> {
        self.budget.entry(&[])?;
        let Some((parent, name)) = path.split() else {
            return Err(Refusal::Whiteout);
        };
        let parent = self.open(&parent)?;
        match self.child(parent, name) {
            None => self.set_child(parent, name, Child::Whiteout)?,
            Some(Child::Directory(id)) => self.directories[id as usize].hides = Hides::All,
            Some(Child::Inode(_) | Child::Whiteout) => {}
        }
        Ok(())
    }

    /// Removes all names that the layers below have in a directory.
    pub(crate) fn opaque(&mut self, path: &TreePath) -> Result<(), Refusal> {
        self.budget.entry(&[])?;
        let id = self.open(path)?;
        let hides = &mut self.directories[id as usize].hides;
        *hides = (*hides).max(Hides::Names);
        Ok(())
    }

    /// The finished index. Numbers follow the names, not the order of arrival; what was replaced is gone.
    pub(crate) fn finish(mut self) -> Index {
        let mut index = Index {
            inodes: Vec::new(),
            directories: Vec::new(),
        };
        let mut renumbered = vec![None; self.inodes.len()];
        let mut inodes: Vec<_> = self.inodes.drain(..).map(Some).collect();
        let mut queue = VecDeque::from([ROOT]);
        let mut announced = 1;
        while let Some(id) = queue.pop_front() {
            let open = std::mem::replace(
                &mut self.directories[id as usize],
                OpenDirectory::new(Hides::Nothing),
            );
            let mut children = Vec::with_capacity(open.children.len());
            for (name, child) in open.children {
                let child = match child {
                    Child::Whiteout => Child::Whiteout,
                    Child::Directory(old) => {
                        queue.push_back(old);
                        announced += 1;
                        Child::Directory(announced - 1)
                    }
                    Child::Inode(old) => {
                        Child::Inode(*renumbered[old as usize].get_or_insert_with(|| {
                            index.inodes.extend(inodes[old as usize].take());
                            count(index.inodes.len()) - 1
                        }))
                    }
                };
                children.push((name, child));
            }
            index.directories.push(Directory {
                attributes: open.attributes,
                hides: open.hides,
                children,
            });
        }
        index
    }

    /// The number of a directory, made with all its parents if it is not there.
    fn open(&mut self, path: &TreePath) -> Result<u32, Refusal> {
        let mut id = ROOT;
        let mut walked = 0;
        for component in path.components() {
            walked += component.len() + 1;
            id = match self.child(id, component) {
                Some(Child::Directory(id)) => id,
                // Never through a link, and never by taking away what this very layer put there.
                Some(Child::Inode(_)) => {
                    return Err(Refusal::BelowNonDirectory(EntryName::new(
                        &path.as_bytes()[..walked - 1],
                    )));
                }
                Some(Child::Whiteout) | None => {
                    self.budget.node()?;
                    self.subdirectory(id, component)?
                }
            };
        }
        Ok(id)
    }

    /// The directory `name` in `parent`, in place of whatever else was there.
    fn subdirectory(&mut self, parent: u32, name: &[u8]) -> Result<u32, Refusal> {
        let hides = match self.child(parent, name) {
            Some(Child::Directory(id)) => return Ok(id),
            Some(Child::Inode(_) | Child::Whiteout) => Hides::All,
            None => Hides::Nothing,
        };
        let id = count(self.directories.len());
        self.directories.push(OpenDirectory::new(hides));
        self.set_child(parent, name, Child::Directory(id))?;
        Ok(id)
    }

    fn place(&mut self, path: &TreePath, child: Child) -> Result<(), Refusal> {
        let (parent, name) = path.split().ok_or(Refusal::RootNotDirectory)?;
        let parent = self.open(&parent)?;
        self.set_child(parent, name, child)
    }

    fn child(&self, parent: u32, name: &[u8]) -> Option<Child> {
        self.directories[parent as usize]
            .children
            .get(name)
            .copied()
    }

    fn set_child(&mut self, parent: u32, name: &[u8], child: Child) -> Result<(), Refusal> {
        match self.directories[parent as usize].children.get_mut(name) {
            Some(slot) => *slot = child,
            None => {
                self.budget.metadata(name.len())?;
                self.directories[parent as usize]
                    .children
                    .insert(name.into(), child);
            }
        }
        Ok(())
    }

    fn find(&self, path: &TreePath) -> Found {
        let mut found = Child::Directory(ROOT);
        for component in path.components() {
            let parent = match found {
                Child::Directory(id) => id,
                Child::Inode(_) => return Found::Blocked,
                Child::Whiteout => return Found::MaybeBelow,
            };
            match self.child(parent, component) {
                Some(child) => found = child,
                None => return Found::MaybeBelow,
            }
        }
        match found {
            Child::Directory(_) => Found::Directory,
            Child::Inode(id) => Found::Inode(id),
            Child::Whiteout => Found::MaybeBelow,
        }
    }
}

/// Where the target of a hardlink is.
enum Found {
    Inode(u32),
    Directory,
    /// Below something of this layer that is not a directory.
    Blocked,
    /// Not in this layer.
    MaybeBelow,
}

/// Positions are 32 bits wide; the budget ends before they do.
fn count(len: usize) -> u32 {
    u32::try_from(len).expect("the budget bounds the number of entries")
}
