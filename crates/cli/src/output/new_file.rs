//! A file that is there as a whole or not at all.

use crate::args::Refusal;
use anyhow::Context;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A file without a name, which goes with its process. Only its owner can read it.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    target: PathBuf,
    directory: PathBuf,
}

impl NewFile {
    /// Begins the file that is to be at `target`, where nothing may be.
    pub fn create(target: &Path) -> anyhow::Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(taken(target).into());
        }
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match open(&directory, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => return Err(no_temporary(&directory).into()),
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot write to {}", target.display()));
            }
        };
        Ok(Self {
            file,
            target: target.to_owned(),
            directory,
        })
    }

    /// Where its content goes.
    pub const fn content(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, durably.
    pub fn publish(self) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", self.target.display());
        self.file.sync_all().with_context(cannot)?;
        let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match linkat(CWD, nameless, CWD, &self.target, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(taken(&self.target).into()),
            Err(errno) => return Err(errno).with_context(cannot),
        }
        let directory = File::open(&self.directory).with_context(cannot)?;
        directory.sync_all().with_context(cannot)
    }
}

fn taken(target: &Path) -> Refusal {
    Refusal {
        message: format!("{} exists already", target.display()),
        hint: Some("remove it, or take another name; `-` is standard output".into()),
    }
}

fn no_temporary(directory: &Path) -> Refusal {
    Refusal {
        message: format!(
            "the file system of {} has no files without a name, so half a file could be left there",
            directory.display()
        ),
        hint: Some("write to `-`, and redirect standard output".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_sees_it_before_it_is_whole_and_nothing_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let mut dropped = NewFile::create(&target).unwrap();
        dropped.content().write_all(b"half").unwrap();
        assert_eq!(names(), 0);
        drop(dropped);
        assert_eq!(names(), 0);

        let [mut first, second] = [(); 2].map(|()| NewFile::create(&target).unwrap());
        first.content().write_all(b"whole").unwrap();
        first.publish().unwrap();
        assert!(second.publish().is_err());
        assert!(NewFile::create(&target).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, names()), (0o600, 1));
    }
}
