//! Making, renaming and removing.

use super::{On, path};
use proto::files::Depth;
use proto::session::Failure;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;

pub(super) fn remove(name: &[u8], depth: Depth) -> Result<(), Failure> {
    let path = path(name)?;
    let remove = || {
        // Of a link only the link itself goes.
        if !fs::symlink_metadata(path)?.is_dir() {
            return fs::remove_file(path);
        }
        match depth {
            Depth::One => fs::remove_dir(path),
            Depth::All => fs::remove_dir_all(path),
        }
    };
    remove().on("remove", name)
}

pub(super) fn make_directory(name: &[u8], mode: u32, depth: Depth) -> Result<(), Failure> {
    let path = path(name)?;
    let make = || {
        if let (Depth::All, Some(above)) = (depth, path.parent()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(above)?;
        }
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if depth == Depth::All && error.kind() == ErrorKind::AlreadyExists => {
                if fs::metadata(path)?.is_dir() {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(libc::ENOTDIR))
                }
            }
            other => other,
        }
    };
    make().on("make the directory", name)
}

pub(super) fn rename(from: &[u8], to: &[u8]) -> Result<(), Failure> {
    fs::rename(path(from)?, path(to)?).on("rename", from)
}
