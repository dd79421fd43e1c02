//! The extended attributes of a file on the host.

use crate::layer::Refusal;
use crate::layer::attributes::{Xattr, XattrSet};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

/// The kernel's own bound on a value (`XATTR_SIZE_MAX`) and on a list of names (`XATTR_LIST_MAX`).
const MAX: usize = 64 << 10;

pub(super) enum Error {
    Read(Errno),
    Refused(Refusal),
}

/// Extended attributes have no `*at` calls; this names an entry below an open directory all the same, and unlike a
/// descriptor of the entry works for links and devices. An empty name is the directory.
pub(super) fn access_path(directory: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    path
}

/// All attributes we may see and the file system of the guest can hold.
pub(super) fn read(path: &[u8]) -> Result<Vec<Xattr>, Error> {
    let mut set = XattrSet::default();
    for name in names(path).map_err(Error::Read)? {
        match growing(|buffer| rustix::fs::lgetxattr(path, &name, buffer)) {
            // Gone since it was listed, or listed but not for us to read.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(Error::Read(error)),
            Ok(value) => set
                .insert(name.as_bytes(), &value)
                .map_err(Error::Refused)?,
        }
    }
    set.finish().map_err(Error::Refused)
}

fn names(path: &[u8]) -> Result<Vec<CString>, Errno> {
    let names = match growing(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => Vec::new(),
        result => result?,
    };
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    Ok(names
        .map(|name| CString::new(name).expect("split at every NUL"))
        .collect())
}

/// Calls with larger buffers until the answer fits.
fn growing(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < MAX => buffer.resize(MAX, 0),
            result => {
                buffer.truncate(result?);
                return Ok(buffer);
            }
        }
    }
}
