//! Comparing a stored layer's data with the checksums of its index.

use super::data::append_zeros;
use super::index::{self, Child, Content, Extent, Index};
use super::{Damage, LayerError};
use crate::fsutil::{Context, FsError};
use crate::sparse::{self, Range};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Reads every file of the layer.
pub(super) fn contents(index: &Index, path: &Path) -> Result<(), LayerError> {
    let file = File::open(path).context("open", path)?;
    let mut buffer = vec![0; 1 << 20];
    for (number, inode) in index.inodes.iter().enumerate() {
        let Content::File(extent) = &inode.content else {
            continue;
        };
        if checksum(&file, extent, &mut buffer)
            .map_err(|error| FsError::new("read", path, error))?
            != extent.checksum
        {
            let what = Damage::Content(index::path_of(
                &index.directories,
                Child::Inode(number as u32),
            ));
            return Err(LayerError::Damaged {
                path: path.to_owned(),
                what,
            });
        }
    }
    Ok(())
}

fn checksum(file: &File, extent: &Extent, buffer: &mut [u8]) -> io::Result<u32> {
    let end = extent.offset + extent.padded();
    let mut checksum = 0;
    let mut at = extent.offset;
    while at < end {
        match sparse::next_range(file, at, end)? {
            Range::Hole(to) => {
                checksum = append_zeros(checksum, to - at);
                at = to;
            }
            Range::Data(to) => {
                let len =
                    usize::try_from(to - at).map_or(buffer.len(), |len| len.min(buffer.len()));
                file.read_exact_at(&mut buffer[..len], at)?;
                checksum = crc32c::crc32c_append(checksum, &buffer[..len]);
                at += len as u64;
            }
        }
    }
    Ok(checksum)
}
