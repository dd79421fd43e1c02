//! Looking at files.

use super::{On, path};
use proto::files::{Entry, FileKind, Links, Stat};
use proto::session::Failure;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(super) fn stat(name: &[u8], links: Links, output: &mut File) -> Result<(), Failure> {
    let path = path(name)?;
    let found = match links {
        Links::Keep => fs::symlink_metadata(path),
        Links::Follow => fs::metadata(path),
    };
    let stat = found
        .and_then(|found| describe(path, &found))
        .on("look at", name)?;
    output.write_all(&proto::encode(&stat)).on("tell of", name)
}

pub(super) fn list(name: &[u8], output: &File) -> Result<(), Failure> {
    let path = path(name)?;
    let mut output = BufWriter::new(output);
    for entry in fs::read_dir(path).on("list", name)? {
        let entry = entry.on("list", name)?;
        let stat = match entry.metadata() {
            Ok(found) => describe(&entry.path(), &found)
                .on("look at", entry.path().as_os_str().as_bytes())?,
            // Removed since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).on("look at", entry.path().as_os_str().as_bytes()),
        };
        let message = proto::encode(&Entry {
            name: entry.file_name().into_vec(),
            stat,
        });
        let len = u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        let told = output
            .write_all(&len)
            .and_then(|()| output.write_all(&message));
        told.on("tell of", name)?;
    }
    output.flush().on("tell of", name)
}

fn describe(path: &Path, found: &Metadata) -> io::Result<Stat> {
    let kind = found.file_type();
    Ok(Stat {
        kind: if kind.is_file() {
            FileKind::File
        } else if kind.is_dir() {
            FileKind::Directory
        } else if kind.is_symlink() {
            FileKind::Symlink
        } else {
            FileKind::Other
        },
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
        size: found.size(),
        mtime: found.mtime(),
        mtime_nanos: u32::try_from(found.mtime_nsec()).unwrap_or(0),
        target: if kind.is_symlink() {
            Some(fs::read_link(path)?.into_os_string().into_vec())
        } else {
            None
        },
    })
}
