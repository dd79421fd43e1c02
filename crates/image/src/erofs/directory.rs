//! Directories on disk: blocks of dirents, then names.

use super::disk::{self, BLOCK, DIRENT_LEN, FileType};
use super::file_type;
use super::plan::Plan;
use super::sink::Sink;
use crate::tree::{Directory, Node, Tree};
use std::io;

/// The entries of a directory in the order the kernel's binary search expects: as unsigned bytes over the whole
/// directory, `.` and `..` among them (a name may begin with `!` or `-`, which come before).
pub(super) struct Listing<'t> {
    entries: Vec<(&'t [u8], Node)>,
}

/// How many bytes a directory takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Blocks that are full but for padding.
    pub(super) full_blocks: u64,
    /// Bytes of the last block.
    pub(super) last: u64,
}

impl<'t> Listing<'t> {
    pub(super) fn new(directory: &'t Directory, id: u32, parent: u32) -> Self {
        let mut entries = Vec::with_capacity(directory.children.len() + 2);
        entries.extend(
            directory
                .children
                .iter()
                .map(|(name, node)| (&**name, *node)),
        );
        for (dots, id) in [(&b"."[..], id), (b"..", parent)] {
            let at = entries.partition_point(|(name, _)| *name < dots);
            entries.insert(at, (dots, Node::Directory(id)));
        }
        Self { entries }
    }

    pub(super) fn extent(&self) -> Extent {
        let (mut full_blocks, mut last) = (0, 0);
        for block in self.blocks() {
            full_blocks += 1;
            last = block
                .iter()
                .map(|(name, _)| DIRENT_LEN + name.len())
                .sum::<usize>() as u64;
        }
        Extent {
            full_blocks: full_blocks - 1,
            last,
        }
    }

    /// Writes the first blocks, each padded with zeros but the last.
    pub(super) fn write_full(
        &self,
        count: u64,
        plan: &Plan,
        tree: &Tree,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        for block in self.blocks().take(count as usize) {
            sink.pad_to(sink.position().next_multiple_of(BLOCK))?;
            write_block(block, plan, tree, sink)?;
        }
        Ok(())
    }

    /// Writes the last block.
    pub(super) fn write_tail(
        &self,
        plan: &Plan,
        tree: &Tree,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        self.blocks()
            .last()
            .map_or(Ok(()), |block| write_block(block, plan, tree, sink))
    }

    /// The entries cut so that each part's dirents and names fit into a block.
    fn blocks(&self) -> impl Iterator<Item = &[(&'t [u8], Node)]> {
        let mut rest = &self.entries[..];
        std::iter::from_fn(move || {
            let mut used = 0;
            let fits = rest.iter().take_while(|(name, _)| {
                used += DIRENT_LEN + name.len();
                used <= BLOCK as usize
            });
            let (block, after) = rest.split_at(fits.count());
            rest = after;
            (!block.is_empty()).then_some(block)
        })
    }
}

fn write_block(
    block: &[(&[u8], Node)],
    plan: &Plan,
    tree: &Tree,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    let mut name_offset = block.len() * DIRENT_LEN;
    for (name, node) in block {
        let file_type: FileType = file_type(tree, *node);
        sink.put(&disk::dirent(
            plan.nid(*node),
            name_offset as u16,
            file_type,
        ))?;
        name_offset += name.len();
    }
    block.iter().try_for_each(|(name, _)| sink.put(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::attributes::Attributes;

    fn directory(names: &[&[u8]]) -> Directory {
        let children = names
            .iter()
            .map(|name| ((*name).into(), Node::Inode(0)))
            .collect();
        Directory {
            attributes: Attributes::implied_directory(),
            children,
        }
    }

    #[test]
    fn the_dots_are_sorted_among_the_names() {
        let directory = directory(&[b"a", b"!x", b"-y", b".a", b"..a", b".\x01", b"\xff"]);
        let listing = Listing::new(&directory, 5, 3);
        let names: Vec<_> = listing.entries.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                &b"!x"[..],
                b"-y",
                b".",
                b".\x01",
                b"..",
                b"..a",
                b".a",
                b"a",
                b"\xff"
            ]
        );
        assert_eq!(listing.entries[2].1, Node::Directory(5));
        assert_eq!(listing.entries[4].1, Node::Directory(3));
    }

    #[test]
    fn blocks_are_filled_to_the_last_byte_and_never_over_it() {
        assert_eq!(
            Listing::new(&directory(&[]), 0, 0).extent(),
            Extent {
                full_blocks: 0,
                last: 27
            }
        );
        // 27 bytes of dots leave 4069: sixteen entries of 254 and one of 5 fill the block.
        let mut names: Vec<Vec<u8>> = (0..15)
            .map(|number| [&[b'a' + number][..], &[b'x'; 241]].concat())
            .collect();
        names.push(vec![b'y'; 255 - 12 + 4]);
        let short = |names: &[Vec<u8>]| {
            let names: Vec<&[u8]> = names.iter().map(|name| &**name).collect();
            Listing::new(&directory(&names), 0, 0).extent()
        };
        assert_eq!(
            short(&names),
            Extent {
                full_blocks: 0,
                last: 27 + 15 * 254 + 259
            }
        );
        names[15].truncate(247);
        assert_eq!(short(&names).last, 4096);
        names.push(b"z".to_vec());
        assert_eq!(
            short(&names),
            Extent {
                full_blocks: 1,
                last: 13
            }
        );
    }
}
