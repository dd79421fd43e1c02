//! The writable disk of a VM: a sparse ext4 file, formatted once per size and copied for each VM.

pub(crate) mod layers;

use crate::home::{Home, random_hex};
use layers::DiskFiles;
use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Below this ext4 has no room for its journal and our two directories.
const MIN_SIZE: u64 = 16 << 20;
/// The limit of ext4 with blocks of 4 KiB.
const MAX_SIZE: u64 = 16 << 40;
/// Changes when the options below do, so that disks formatted by older releases are not taken.
const FORMAT: u32 = 1;

/// Where e2fsprogs installs; PATH of an unprivileged user has neither as a rule.
const MKFS: [&str; 4] = [
    "/usr/sbin/mkfs.ext4",
    "/sbin/mkfs.ext4",
    "/usr/bin/mkfs.ext4",
    "/usr/local/sbin/mkfs.ext4",
];

/// Why a VM has no writable disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScratchError {
    /// The size is out of range.
    #[error("a disk of {0} bytes is out of range: 16 MiB to 16 TiB")]
    Size(u64),
    /// mkfs.ext4 is not installed.
    #[error("mkfs.ext4 was not found; it formats the writable disk")]
    NoMkfs,
    /// mkfs.ext4 failed.
    #[error("mkfs.ext4 could not format the writable disk: {0}")]
    Mkfs(String),
    /// A file of the disk cannot be made.
    #[error("cannot {step} {path}")]
    File {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl Fn(io::Error) -> ScratchError + 'a {
    move |source| ScratchError::File {
        step,
        path: path.to_owned(),
        source,
    }
}

/// The program that formats disks.
pub(crate) fn find_mkfs() -> Option<&'static Path> {
    MKFS.iter().map(Path::new).find(|path| path.is_file())
}

/// Makes the disk of a VM at `path`. Its length is a multiple of 1 MiB.
pub(crate) fn create(home: &Home, path: &Path, size: u64) -> Result<DiskFiles, ScratchError> {
    if !(MIN_SIZE..=MAX_SIZE).contains(&size) {
        return Err(ScratchError::Size(size));
    }
    let len = size.next_multiple_of(1 << 20);
    duplicate(&formatted(home, len)?, path)
}

/// Makes a disk at `path` that is a copy of `source`.
fn duplicate(source: &File, path: &Path) -> Result<DiskFiles, ScratchError> {
    let target = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("create", path))?;
    let len = source.metadata().map_err(failed("copy to", path))?.len();
    copy(source, &target, len).map_err(failed("fill", path))?;
    Ok(DiskFiles {
        files: vec![target],
        bytes: len,
    })
}

/// The formatted disk of this length; formats it if this is the first.
fn formatted(home: &Home, len: u64) -> Result<File, ScratchError> {
    let published = home
        .scratch()
        .join(format!("ext4-v{FORMAT}-{}M.img", len >> 20));
    match File::open(&published) {
        Ok(file) => return Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("open", &published)(error)),
    }
    let temporary = published.with_extension(format!("{}.tmp", random_hex(8)));
    let made = format(&temporary, len).and_then(|()| {
        fs::rename(&temporary, &published).map_err(failed("publish", &published))?;
        File::open(&published).map_err(failed("open", &published))
    });
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    made
}

/// Formats a new file. Lazy initialization is declared done where mkfs knows how to (1.47): the file is sparse
/// and reads as zeros, so there is nothing for the guest's kernel to zero in the background.
fn format(path: &Path, len: u64) -> Result<(), ScratchError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("create", path))?;
    file.set_len(len).map_err(failed("size", path))?;
    let lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
    if run_mkfs(path, &format!("{lazy},assume_storage_prezeroed=1")).is_err() {
        run_mkfs(path, lazy)?;
    }
    file.sync_all().map_err(failed("sync", path))
}

fn run_mkfs(path: &Path, extended: &str) -> Result<(), ScratchError> {
    let mkfs = find_mkfs().ok_or(ScratchError::NoMkfs)?;
    let output = Command::new(mkfs)
        // No reserved blocks; no resize inode: the disk never grows, and both only make the copy bigger.
        .args([
            "-q",
            "-F",
            "-m",
            "0",
            "-O",
            "^resize_inode",
            "-L",
            "scratch",
            "-E",
            extended,
        ])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(failed("run", mkfs))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Err(ScratchError::Mkfs(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    }))
}

/// Copies what is not a hole: by reference where the file system can, else range by range in the kernel.
fn copy(source: &File, target: &File, len: u64) -> io::Result<()> {
    if ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    target.set_len(len)?;
    let mut end = 0;
    loop {
        let start = match seek(source, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        end = seek(source, SeekFrom::Hole(start))?;
        copy_range(source, target, start, end)?;
    }
}

fn copy_range(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let left = (end - from) as usize;
        if copy_file_range(source, Some(&mut from), target, Some(&mut to), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn home() -> (tempfile::TempDir, Home) {
        let temporary = tempfile::tempdir().unwrap();
        let home = Home::open(&temporary.path().join("home")).unwrap();
        (temporary, home)
    }

    /// What `e2fsck` says of a file system, as the outside judge.
    fn check(path: &Path) {
        let output = Command::new("/usr/sbin/e2fsck")
            .args(["-f", "-n"])
            .arg(path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    #[test]
    fn two_disks_of_one_size_are_sound_sparse_and_formatted_once() {
        let (temporary, home) = home();
        for name in ["a", "b"] {
            let path = temporary.path().join(name);
            let disk = create(&home, &path, 10 << 30).unwrap();
            let file = &disk.files[0];
            assert_eq!(
                (disk.bytes, file.metadata().unwrap().len()),
                (10 << 30, 10 << 30)
            );
            assert!(
                file.metadata().unwrap().blocks() * 512 < 8 << 20,
                "{} blocks",
                file.metadata().unwrap().blocks()
            );
            check(&path);
        }
        assert_eq!(fs::read_dir(home.scratch()).unwrap().count(), 1);
    }

    #[test]
    fn the_smallest_disk_is_sound_and_an_odd_size_is_rounded_up() {
        let (temporary, home) = home();
        let path = temporary.path().join("a");
        assert_eq!(
            create(&home, &path, MIN_SIZE + 1).unwrap().bytes,
            MIN_SIZE + (1 << 20)
        );
        check(&path);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let (temporary, home) = home();
        for size in [0, MIN_SIZE - 1, MAX_SIZE + 1, u64::MAX] {
            assert!(matches!(
                create(&home, &temporary.path().join("a"), size),
                Err(ScratchError::Size(_))
            ));
        }
    }

    #[test]
    fn a_copy_range_by_range_has_the_same_bytes_and_holes() {
        let temporary = tempfile::tempdir().unwrap();
        let source = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(temporary.path().join("source"))
            .unwrap();
        source.set_len(64 << 20).unwrap();
        for (offset, byte) in [(0, 1_u8), (5 << 20, 2), (63 << 20, 3)] {
            std::os::unix::fs::FileExt::write_all_at(&source, &[byte; 5000], offset).unwrap();
        }
        let path = temporary.path().join("target");
        let target = File::create(&path).unwrap();
        copy(&source, &target, 64 << 20).unwrap();
        assert!(fs::read(&path).unwrap() == fs::read(temporary.path().join("source")).unwrap());
        assert!(target.metadata().unwrap().blocks() < 200);
    }
}
