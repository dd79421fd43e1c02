//! From a tar stream to data and index.

use super::archive::{Archive, FileLayout, Member, MemberKind};
use super::builder::Builder;
use super::data::DataWriter;
use super::index::{Content, Extent, Index, Inode};
use super::path::{Meaning, TreePath};
use super::{EntryName, LayerError, Limits, Refusal};
use crate::digest::Digest;
use std::io::Read;

const MAX_SYMLINK: usize = 4095;

/// Reads a stream to its end. Returns the index and the digest of all bytes; the data is in `data`.
pub(super) fn read_tar(
    source: &mut dyn Read,
    data: &mut DataWriter,
    limits: &Limits,
) -> Result<(Index, Digest), LayerError> {
    let mut archive = Archive::new(source, limits.max_stream_bytes);
    let mut builder = Builder::new(limits);
    while let Some(member) = archive.next()? {
        let applied = match Meaning::parse(&member.name) {
            Ok(Meaning::Entry(path)) => {
                let entry = Entry {
                    path,
                    archive: &mut archive,
                    data,
                    limits,
                };
                entry.apply(member, &mut builder)?
            }
            Ok(Meaning::Whiteout(path)) => builder.whiteout(&path),
            Ok(Meaning::Opaque(path)) => builder.opaque(&path),
            Ok(Meaning::Ignored) => Ok(()),
            Err(reason) => Err(reason),
        };
        applied.map_err(|reason| archive.refused(reason))?;
    }
    Ok((builder.finish(), archive.finish()?))
}

struct Entry<'a, 'b> {
    path: TreePath,
    archive: &'a mut Archive<'b>,
    data: &'a mut DataWriter,
    limits: &'a Limits,
}

impl Entry<'_, '_> {
    /// The outer error is of the stream or the disk, the inner one of this entry.
    fn apply(
        self,
        member: Member,
        builder: &mut Builder,
    ) -> Result<Result<(), Refusal>, LayerError> {
        let attributes = member.attributes;
        let content = match member.kind {
            MemberKind::Directory => return Ok(builder.directory(&self.path, attributes)),
            MemberKind::Hardlink(target) => return Ok(hardlink(builder, &self.path, &target)),
            MemberKind::File(layout) => match check_room(layout.size, self.data, self.limits) {
                Ok(()) => Content::File(copy(&layout, self.archive, self.data)?),
                Err(reason) => return Ok(Err(reason)),
            },
            MemberKind::Symlink(target) => match check_symlink(&target) {
                Ok(()) => Content::Symlink(target.into()),
                Err(reason) => return Ok(Err(reason)),
            },
            MemberKind::CharDevice(number) => Content::CharDevice(number),
            MemberKind::BlockDevice(number) => Content::BlockDevice(number),
            MemberKind::Fifo => Content::Fifo,
        };
        Ok(builder
            .inode(
                &self.path,
                Inode {
                    attributes,
                    content,
                },
            )
            .map(drop))
    }
}

fn hardlink(builder: &mut Builder, path: &TreePath, target: &[u8]) -> Result<(), Refusal> {
    let parsed = TreePath::parse(target);
    let parsed =
        parsed.map_err(|reason| Refusal::LinkTarget(EntryName::new(target), Box::new(reason)))?;
    builder.hardlink(path, &parsed)
}

pub(crate) fn check_symlink(target: &[u8]) -> Result<(), Refusal> {
    match target.len() {
        1..=MAX_SYMLINK if target.contains(&0) => Err(Refusal::NulByte),
        1..=MAX_SYMLINK => Ok(()),
        len => Err(Refusal::SymlinkTarget(len)),
    }
}

/// Whether a file of `size` bytes is allowed after what is in `data`.
pub(crate) fn check_room(size: u64, data: &DataWriter, limits: &Limits) -> Result<(), Refusal> {
    if size > limits.max_file_bytes {
        return Err(Refusal::Limit {
            limit: limits.max_file_bytes,
            what: "bytes in a file",
        });
    }
    if data.position().saturating_add(size) > limits.max_data_bytes {
        return Err(Refusal::Limit {
            limit: limits.max_data_bytes,
            what: "bytes of files in a layer",
        });
    }
    Ok(())
}

fn copy(
    layout: &FileLayout,
    archive: &mut Archive<'_>,
    data: &mut DataWriter,
) -> Result<Extent, LayerError> {
    let mut at = 0;
    for stretch in &layout.stretches {
        data.skip(stretch.offset - at)?;
        let mut left = stretch.len;
        while left > 0 {
            let chunk = archive.data(left)?;
            data.write(chunk)?;
            left -= chunk.len() as u64;
        }
        at = stretch.offset + stretch.len;
    }
    data.skip(layout.size - at)?;
    Ok(data.finish_file()?)
}
