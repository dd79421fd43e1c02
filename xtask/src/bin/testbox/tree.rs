//! A directory tree as text: what two copies of one image must agree on.

use rustix::fs::{AtFlags, CWD, FileType, Stat};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::hash::Hasher;
use std::io::{Read, Result, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Prints every entry below a directory, sorted by bytes, without descending into other mounts:
///
/// `PATH TYPE MODE UID:GID SIZE MTIME [links=N first=PATH] [target=..] [device=..] [hash=..] [xattr NAME=VALUE]...`
pub fn print(root: &[u8], out: &mut dyn Write) -> Result<()> {
    let root = PathBuf::from(OsStr::from_bytes(root));
    let device = stat(&root)?.st_dev;
    let mut tree = Tree {
        root: root.clone(),
        device,
        inodes: HashMap::new(),
        out,
    };
    tree.directory(&root)
}

struct Tree<'a> {
    root: PathBuf,
    device: u64,
    /// First path seen of every file with several names.
    inodes: HashMap<(u64, u64), String>,
    out: &'a mut dyn Write,
}

impl Tree<'_> {
    fn directory(&mut self, path: &Path) -> Result<()> {
        let mut names: Vec<OsString> = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        names.sort();
        for name in names {
            self.entry(&path.join(name))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<()> {
        let stat = stat(path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let line = self.describe(path, &stat, kind)?;
        writeln!(self.out, "{line}")?;
        // Only directories tell which mount they are on: overlayfs gives files the device of their layer.
        if kind == FileType::Directory && stat.st_dev == self.device {
            self.directory(path)
        } else {
            Ok(())
        }
    }

    fn describe(&mut self, path: &Path, stat: &Stat, kind: FileType) -> Result<String> {
        let shown = shown(
            path.strip_prefix(&self.root)
                .unwrap_or(path)
                .as_os_str()
                .as_bytes(),
        );
        let mode = stat.st_mode & 0o7777;
        let size = if kind == FileType::Directory {
            0
        } else {
            stat.st_size
        };
        let mut line = format!(
            "{shown} {kind:?} {mode:04o} {}:{} {size} {}.{:09}",
            stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec
        );
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let first = self
                .inodes
                .entry((stat.st_dev, stat.st_ino))
                .or_insert_with(|| shown.clone());
            line += &format!(" links={} first={first}", stat.st_nlink);
        }
        match kind {
            FileType::Symlink => {
                let target = std::fs::read_link(path)?;
                line += &format!(" target={}", self::shown(target.as_os_str().as_bytes()));
            }
            FileType::RegularFile => line += &format!(" hash={:016x}", hash(path)?),
            FileType::CharacterDevice | FileType::BlockDevice => {
                line += &format!(
                    " device={}:{}",
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev)
                );
            }
            _ => {}
        }
        for (name, value) in xattrs(path)? {
            line += &format!(" xattr {}={}", self::shown(&name), self::shown(&value));
        }
        Ok(line)
    }
}

fn stat(path: &Path) -> Result<Stat> {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| std::io::Error::other(format!("{}: {error}", path.display())))
}

/// Not cryptographic: it tells apart what broke, not what an enemy made.
fn hash(path: &Path) -> Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = std::hash::DefaultHasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Whole buffers, so that the hash does not depend on how reads are split.
        let length = read_full(&mut file, &mut buffer)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.write(&buffer[..length]);
    }
}

fn read_full(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Extended attributes, sorted by name. Those of overlayfs itself are not the image's.
fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut attributes = Vec::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, OsString::from_vec(name.to_vec()), &mut value)?;
        value.truncate(length);
        attributes.push((name.to_vec(), value));
    }
    attributes.sort();
    Ok(attributes)
}

fn shown(bytes: &[u8]) -> String {
    // A space ends a field.
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}
