//! Contents, in and out.

use super::{On, is_told_to_go, path};
use crate::failure::failure;
use proto::files::{Links, Owners};
use proto::session::{Failure, FailureKind};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, BufWriter};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tree::{Devices, Pack, TreeError, Unpacker};

/// What a file gets that is new and for which nothing was said.
const NEW_FILE: u32 = 0o644;
/// Headers of an archive are small; a system call for each would be slow.
const BUFFER: usize = 128 << 10;

pub(super) fn read(name: &[u8], output: &mut File) -> Result<(), Failure> {
    // A FIFO must not make us wait for its other end.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path(name)?)
        .on("open", name)?;
    must_be_file(&file.metadata().on("look at", name)?, name)?;
    io::copy(&mut file, output).on("read", name).map(drop)
}

/// The new file takes the old one's place when it is whole.
pub(super) fn write(
    name: &[u8],
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    input: &mut impl io::Read,
) -> Result<(), Failure> {
    let target = destination(path(name)?).on("find", name)?;
    let old = match fs::metadata(&target) {
        Ok(old) => {
            must_be_file(&old, name)?;
            Some(old)
        }
        Err(_) => None,
    };
    let (temporary, mut file) = beside(&target).on("write", name)?;
    let mut fill = || {
        io::copy(input, &mut file)?;
        if is_told_to_go() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let owner = owner.or_else(|| old.as_ref().map(|old| (old.uid(), old.gid())));
        if let Some((uid, gid)) = owner {
            chown(&temporary, Some(uid), Some(gid))?;
        }
        let old_mode = old.as_ref().map(|old| old.mode() & 0o7777);
        file.set_permissions(Permissions::from_mode(
            mode.or(old_mode).unwrap_or(NEW_FILE),
        ))?;
        fs::rename(&temporary, &target)
    };
    let filled = fill();
    if filled.is_err() {
        // The reason is told; that this fails too would add nothing.
        let _ = fs::remove_file(&temporary);
    }
    filled.on("write", name)
}

/// Where links lead: it is the file that is replaced, not a link to it.
fn destination(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path),
        _ => Ok(path.to_owned()),
    }
}

/// A new file in the same directory.
fn beside(target: &Path) -> io::Result<(PathBuf, File)> {
    let directory = target.parent().unwrap_or(Path::new("/"));
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(".supermachine-{}-{}", std::process::id(), since.as_nanos());
    let path = directory.join(name);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok((path, file))
}

fn must_be_file(found: &fs::Metadata, name: &[u8]) -> Result<(), Failure> {
    if found.is_file() {
        return Ok(());
    }
    if found.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR)).on("use as a file", name);
    }
    let what = format!("{} is not a regular file", crate::failure::shown(name));
    Err(failure(FailureKind::Request, what))
}

pub(super) fn pack(name: &[u8], top: &[u8], links: Links, output: &File) -> Result<(), Failure> {
    let how = Pack {
        name: top.to_vec(),
        links: match links {
            Links::Keep => tree::Links::Keep,
            Links::Follow => tree::Links::Follow,
        },
    };
    tree::pack(path(name)?, &how, BufWriter::with_capacity(BUFFER, output))
        .map(drop)
        .map_err(|error| explain(&error))
}

pub(super) fn unpack(name: &[u8], owners: Owners, input: &File) -> Result<(), Failure> {
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path(name)?)
        .on("open the directory", name)?;
    let owners = match owners {
        Owners::Root => tree::Owners::Ours,
        Owners::Kept => tree::Owners::Kept,
    };
    Unpacker::new(OwnedFd::from(directory), owners, Devices::Made)
        .unpack(BufReader::with_capacity(BUFFER, input))
        .map_err(|error| explain(&error))
}

fn explain(error: &TreeError) -> Failure {
    Failure {
        kind: FailureKind::System,
        context: error.to_string(),
        errno: error.errno().unwrap_or(0),
    }
}
