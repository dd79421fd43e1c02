//! A tar writer that writes what it is told, sound or not.

use std::fmt::Display;

/// An archive in memory.
#[derive(Default)]
pub struct Archive(Vec<u8>);

/// A member with its header's fields.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub flag: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: i64,
    pub link: Vec<u8>,
    pub device: (u64, u64),
    pub data: Vec<u8>,
    /// What the header says about the data's length, if that is not the truth.
    pub size: Option<u64>,
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    pub fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        Self {
            name: name.as_ref().to_vec(),
            flag,
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_600_000_000,
            link: Vec::new(),
            device: (0, 0),
            data: Vec::new(),
            size: None,
            records: Vec::new(),
        }
    }

    pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        Self {
            data: data.as_ref().to_vec(),
            ..Self::new(b'0', name)
        }
    }

    pub fn directory(name: impl AsRef<[u8]>) -> Self {
        Self::new(b'5', name)
    }

    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            mode: 0o777,
            link: target.as_ref().to_vec(),
            ..Self::new(b'2', name)
        }
    }

    pub fn hardlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(b'1', name)
        }
    }

    pub fn device(flag: u8, name: impl AsRef<[u8]>, major: u64, minor: u64) -> Self {
        Self {
            device: (major, minor),
            ..Self::new(flag, name)
        }
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    pub fn mtime(self, mtime: i64) -> Self {
        Self { mtime, ..self }
    }

    pub fn record(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.records
            .push((key.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.record(format!("SCHILY.xattr.{name}"), value)
    }
}

impl Archive {
    pub fn of(members: impl IntoIterator<Item = Member>) -> Vec<u8> {
        let mut archive = Self::default();
        members.into_iter().for_each(|member| archive.push(member));
        archive.finish()
    }

    /// Adds a member; names that do not fit become PAX records.
    pub fn push(&mut self, mut member: Member) {
        if member.name.len() > 100 {
            let name = std::mem::take(&mut member.name);
            member = member.record("path", name);
        }
        if member.link.len() > 100 {
            let link = std::mem::take(&mut member.link);
            member = member.record("linkpath", link);
        }
        if !member.records.is_empty() {
            let records = std::mem::take(&mut member.records);
            let data = records
                .iter()
                .flat_map(|(key, value)| record(key, value))
                .collect::<Vec<u8>>();
            self.raw(&Member {
                data,
                ..Member::new(b'x', "PaxHeaders/member")
            });
        }
        self.raw(&member);
    }

    /// Adds header and data, and nothing that explains them.
    pub fn raw(&mut self, member: &Member) {
        self.0.extend_from_slice(&header(member));
        self.0.extend_from_slice(&member.data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// Adds bytes of the caller's own.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    pub fn finish_without_end(self) -> Vec<u8> {
        self.0
    }
}

/// One PAX record: its length counts itself.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len.to_string().len() + rest != len {
        len = len.to_string().len() + rest;
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// A ustar header with its checksum.
pub fn header(member: &Member) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes[..member.name.len()].copy_from_slice(&member.name);
    put_number(&mut bytes[100..108], i64::from(member.mode));
    put_number(&mut bytes[108..116], member.uid as i64);
    put_number(&mut bytes[116..124], member.gid as i64);
    put_number(
        &mut bytes[124..136],
        member.size.unwrap_or(member.data.len() as u64) as i64,
    );
    put_number(&mut bytes[136..148], member.mtime);
    bytes[156] = member.flag;
    bytes[157..157 + member.link.len()].copy_from_slice(&member.link);
    bytes[257..265].copy_from_slice(b"ustar\x0000");
    put_number(&mut bytes[329..337], member.device.0 as i64);
    put_number(&mut bytes[337..345], member.device.1 as i64);
    seal(&mut bytes);
    bytes
}

/// Puts the checksum in.
pub fn seal(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put_text(&mut header[148..156], format_args!("{sum:06o}\0 "));
}

/// Octal if it fits, base-256 if not.
fn put_number(field: &mut [u8], number: i64) {
    let digits = field.len() - 1;
    if number >= 0 && number < 1 << (3 * digits).min(62) {
        put_text(field, format_args!("{number:0digits$o}\0"));
        return;
    }
    for (at, byte) in field.iter_mut().rev().enumerate() {
        *byte = (number >> (8 * at).min(63)) as u8;
    }
    field[0] = field[0] & 0x7f | 0x80;
}

fn put_text(field: &mut [u8], text: impl Display) {
    field.copy_from_slice(text.to_string().as_bytes());
}
