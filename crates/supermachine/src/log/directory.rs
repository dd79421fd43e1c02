//! The directory of a log, whatever it is called by now.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The directory of a log. A VM that is renamed takes its directory along, and who has it open does not notice.
#[derive(Debug)]
pub(super) struct Directory {
    open: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            open: File::open(path)?,
        })
    }

    /// A path to it that does not depend on its name.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.open.as_raw_fd()))
    }

    /// A path to a file in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}
