//! A layer's tar, entry by entry, with what a file system's own tools would not let us write.

use anyhow::{Context, Result};
use std::fmt::Write;
use tar::{EntryType, Header};

/// One entry.
pub struct Entry<'a> {
    path: &'a [u8],
    kind: EntryType,
    contents: &'a [u8],
    target: &'a [u8],
    mode: u32,
    owner: (u64, u64),
    mtime: (u64, u32),
    device: Option<(u32, u32)>,
    xattrs: Vec<(&'static str, &'a [u8])>,
}

/// The day all ordinary entries are from: 2024-02-29T12:00:00Z.
const MTIME: u64 = 1_709_208_000;

impl<'a> Entry<'a> {
    const fn new(path: &'a [u8], kind: EntryType, mode: u32) -> Self {
        let none: &[u8] = &[];
        Self {
            path,
            kind,
            contents: none,
            target: none,
            mode,
            owner: (0, 0),
            mtime: (MTIME, 0),
            device: None,
            xattrs: Vec::new(),
        }
    }

    /// A regular file, mode 0644.
    pub const fn file(path: &'a [u8], contents: &'a [u8]) -> Self {
        let mut entry = Self::new(path, EntryType::Regular, 0o644);
        entry.contents = contents;
        entry
    }

    /// A directory, mode 0755.
    pub const fn directory(path: &'a [u8]) -> Self {
        Self::new(path, EntryType::Directory, 0o755)
    }

    /// A symbolic link.
    pub const fn symlink(path: &'a [u8], target: &'a [u8]) -> Self {
        let mut entry = Self::new(path, EntryType::Symlink, 0o777);
        entry.target = target;
        entry
    }

    /// Another name of an entry further up.
    pub const fn hardlink(path: &'a [u8], target: &'a [u8]) -> Self {
        let mut entry = Self::new(path, EntryType::Link, 0o644);
        entry.target = target;
        entry
    }

    /// A named pipe, mode 0600.
    pub const fn fifo(path: &'a [u8]) -> Self {
        Self::new(path, EntryType::Fifo, 0o600)
    }

    /// A character device, mode 0666.
    pub const fn character(path: &'a [u8], major: u32, minor: u32) -> Self {
        let mut entry = Self::new(path, EntryType::Char, 0o666);
        entry.device = Some((major, minor));
        entry
    }

    /// With these permission bits.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With this owner.
    pub const fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    /// With this time of modification: seconds since 1970 and nanoseconds.
    pub const fn mtime(mut self, seconds: u64, nanoseconds: u32) -> Self {
        self.mtime = (seconds, nanoseconds);
        self
    }

    /// With this extended attribute.
    pub fn xattr(mut self, name: &'static str, value: &'a [u8]) -> Self {
        self.xattrs.push((name, value));
        self
    }
}

/// A tar being written.
pub struct Tarball(tar::Builder<Vec<u8>>);

impl Tarball {
    /// An empty one.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// Appends an entry.
    pub fn add(&mut self, entry: &Entry<'_>) -> Result<&mut Self> {
        let shown = String::from_utf8_lossy(entry.path).into_owned();
        let records = extended_records(entry);
        if !records.is_empty() {
            self.0.append_pax_extensions(
                records
                    .iter()
                    .map(|(key, value)| (key.as_str(), &value[..])),
            )?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner.0);
        header.set_gid(entry.owner.1);
        header.set_mtime(entry.mtime.0);
        header.set_size(entry.contents.len() as u64);
        if let Some((major, minor)) = entry.device {
            header
                .set_device_major(major)
                .and_then(|()| header.set_device_minor(minor))
                .context("device numbers")?;
        }
        let ustar = header.as_ustar_mut().expect("the header was made as ustar");
        copy_prefix(&mut ustar.name, entry.path);
        copy_prefix(&mut ustar.linkname, entry.target);
        header.set_cksum();
        self.0
            .append(&header, entry.contents)
            .with_context(|| format!("add {shown} to a layer"))?;
        Ok(self)
    }

    /// The finished archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context("finish a layer")
    }
}

/// What does not fit a ustar header goes before it in a PAX record, as Go's archive/tar does it.
fn extended_records(entry: &Entry<'_>) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut record = |key: &str, value: &[u8]| records.push((key.to_owned(), value.to_vec()));
    if needs_record(entry.path) {
        record("path", entry.path);
    }
    if needs_record(entry.target) {
        record("linkpath", entry.target);
    }
    if entry.mtime.1 != 0 {
        let mut text = String::new();
        write!(text, "{}.{:09}", entry.mtime.0, entry.mtime.1).expect("a String takes everything");
        record("mtime", text.as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&format!("SCHILY.xattr.{name}"), value);
    }
    records
}

/// Non-ASCII but valid UTF-8 belongs in a record; bytes that are no text can only stand in the header.
fn needs_record(path: &[u8]) -> bool {
    path.len() > 100 || (!path.is_ascii() && std::str::from_utf8(path).is_ok())
}

fn copy_prefix(field: &mut [u8], bytes: &[u8]) {
    let length = field.len().min(bytes.len());
    field[..length].copy_from_slice(&bytes[..length]);
}
