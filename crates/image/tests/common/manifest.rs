//! A directory tree as a table, for comparing what two programs made of the same image.

use image::digest::{Digest, Hasher};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Every path below a root (the root itself is the empty path) and what is there.
pub type Manifest = BTreeMap<Vec<u8>, Entry>;

/// All that can be seen of a file but inode number, allocated blocks, access and change time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As `find -printf %y`.
    pub kind: char,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Major and minor of a device.
    pub device: Option<(u32, u32)>,
    /// Not of directories, whose size is the file system's affair.
    pub size: Option<u64>,
    pub links: u64,
    pub mtime: (i64, u32),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub content: Option<Digest>,
    /// The first path of the same inode.
    pub first_name: Vec<u8>,
}

/// Reads a tree.
pub fn of(root: &Path) -> Manifest {
    let mut manifest = Manifest::new();
    let mut first_names = HashMap::new();
    visit(root, &[], &mut first_names, &mut manifest);
    manifest
}

fn visit(
    root: &Path,
    path: &[u8],
    first_names: &mut HashMap<u64, Vec<u8>>,
    manifest: &mut Manifest,
) {
    let full = root.join(OsStr::from_bytes(path));
    let metadata = full
        .symlink_metadata()
        .unwrap_or_else(|error| panic!("{}: {error}", full.display()));
    let file_type = metadata.file_type();
    let kind = match () {
        () if file_type.is_dir() => 'd',
        () if file_type.is_file() => 'f',
        () if file_type.is_symlink() => 'l',
        () if file_type.is_char_device() => 'c',
        () if file_type.is_block_device() => 'b',
        () if file_type.is_fifo() => 'p',
        () => 's',
    };
    let rdev = metadata.rdev();
    let entry = Entry {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        device: matches!(kind, 'b' | 'c')
            .then(|| (rustix::fs::major(rdev), rustix::fs::minor(rdev))),
        size: (kind != 'd').then(|| metadata.size()),
        links: metadata.nlink(),
        mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
        xattrs: xattrs(&full),
        target: (kind == 'l').then(|| full.read_link().unwrap().as_os_str().as_bytes().to_vec()),
        content: (kind == 'f').then(|| content(&full)),
        first_name: first_names
            .entry(metadata.ino())
            .or_insert_with(|| path.to_vec())
            .clone(),
    };
    manifest.insert(path.to_vec(), entry);
    if kind != 'd' {
        return;
    }
    let mut names: Vec<_> = full
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort_unstable();
    for name in names {
        let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
        visit(
            root,
            &[path, separator, name.as_bytes()].concat(),
            first_names,
            manifest,
        );
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..len].to_vec()
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

fn content(path: &Path) -> Digest {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file
            .read(&mut buffer)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        {
            0 => return hasher.finish(),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Fails with every difference, one a line, if there is any.
#[track_caller]
pub fn assert_same(what: &str, found: &Manifest, expected: &Manifest) {
    let mut report = String::new();
    for path in found
        .keys()
        .chain(expected.keys().filter(|path| !found.contains_key(*path)))
    {
        let (found, expected) = (found.get(path), expected.get(path));
        if found != expected {
            writeln!(
                report,
                "{}:\n  found    {found:?}\n  expected {expected:?}",
                path.escape_ascii()
            )
            .unwrap();
        }
    }
    assert!(report.is_empty(), "{what}: the trees differ\n{report}");
}
