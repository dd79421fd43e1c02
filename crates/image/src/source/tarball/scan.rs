//! Finding the members of a tar file by its headers alone.
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tar::{EntryType, Header};

use super::Member;

const BLOCK: u64 = 512;
/// A long name or a PAX header; real ones are a few hundred bytes.
const EXTENSION_LIMIT: u64 = 1 << 20;
/// An archive has a few files for each layer.
const MEMBER_LIMIT: usize = 100_000;

pub(super) enum Fault {
    Read(io::Error),
    Malformed { reason: &'static str, offset: u64 },
}

/// What headers before a member say about it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// All regular files and links of an archive of `len` bytes. Of several members with one name the last counts.
pub(super) fn members(file: &File, len: u64) -> Result<HashMap<String, Member>, Fault> {
    let mut members = HashMap::new();
    let mut extensions = Extensions::default();
    let mut offset = 0;
    while let Some(header) = header_at(file, offset, len)? {
        let malformed = |reason| Fault::Malformed { reason, offset };
        let own_size = header
            .entry_size()
            .map_err(|_| malformed("the size is not a number"))?;
        let data = offset + BLOCK;
        let kind = header.entry_type();
        let is_extension =
            kind.is_pax_local_extensions() || kind.is_gnu_longname() || kind.is_gnu_longlink();
        let size = if is_extension {
            own_size
        } else {
            extensions.size.unwrap_or(own_size)
        };
        let end = data
            .checked_add(size)
            .filter(|&end| end <= len)
            .ok_or_else(|| malformed("it is cut short"))?;
        if is_extension {
            let content = extension(file, data, size).map_err(|fault| {
                fault.unwrap_or_else(|| malformed("an extended header is too long"))
            })?;
            extensions
                .add(kind, content)
                .ok_or_else(|| malformed("an extended header cannot be read"))?;
        } else {
            let extensions = std::mem::take(&mut extensions);
            if let Some((name, member)) = member(&header, extensions, data, size) {
                members.insert(name, member);
            }
            if members.len() > MEMBER_LIMIT {
                return Err(malformed("it has too many members"));
            }
        }
        offset = end.next_multiple_of(BLOCK);
    }
    Ok(members)
}

/// The header at an offset; `None` at the end, which is a block of zeros or just the end of the file.
fn header_at(file: &File, offset: u64, len: u64) -> Result<Option<Header>, Fault> {
    if offset >= len {
        return Ok(None);
    }
    if len - offset < BLOCK {
        return Err(Fault::Malformed {
            reason: "it is cut short",
            offset,
        });
    }
    let mut header = Header::new_old();
    file.read_exact_at(header.as_mut_bytes(), offset)
        .map_err(Fault::Read)?;
    if header.as_bytes().iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let sum: u32 = header
        .as_bytes()
        .iter()
        .enumerate()
        .map(|(at, &byte)| {
            // The checksum's own field counts as spaces.
            if (148..156).contains(&at) {
                u32::from(b' ')
            } else {
                u32::from(byte)
            }
        })
        .sum();
    match header.cksum() {
        Ok(stated) if stated == sum => Ok(Some(header)),
        _ => Err(Fault::Malformed {
            reason: "a header's checksum is wrong",
            offset,
        }),
    }
}

/// `Err(None)`: too long.
fn extension(file: &File, offset: u64, size: u64) -> Result<Vec<u8>, Option<Fault>> {
    if size > EXTENSION_LIMIT {
        return Err(None);
    }
    let mut content = vec![0; size as usize];
    file.read_exact_at(&mut content, offset)
        .map_err(|error| Some(Fault::Read(error)))?;
    Ok(content)
}

impl Extensions {
    fn add(&mut self, kind: EntryType, content: Vec<u8>) -> Option<()> {
        let text = |content: Vec<u8>| content.split(|&byte| byte == 0).next().map(<[u8]>::to_vec);
        match kind {
            EntryType::GNULongName => self.name = text(content),
            EntryType::GNULongLink => self.link = text(content),
            _ => return self.add_pax(&content),
        }
        Some(())
    }

    /// Records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
    fn add_pax(&mut self, mut content: &[u8]) -> Option<()> {
        while !content.is_empty() {
            let space = content.iter().position(|&byte| byte == b' ')?;
            let len: usize = std::str::from_utf8(&content[..space]).ok()?.parse().ok()?;
            let record = content.get(space + 1..len)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => {}
            }
            content = &content[len..];
        }
        Some(())
    }
}

/// `None`: nothing that could hold a blob.
fn member(
    header: &Header,
    extensions: Extensions,
    offset: u64,
    len: u64,
) -> Option<(String, Member)> {
    let name = extensions
        .name
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let name = normal(&String::from_utf8(name).ok()?, "")?;
    let link = || {
        let link = extensions
            .link
            .clone()
            .or_else(|| Some(header.link_name_bytes()?.into_owned()))?;
        String::from_utf8(link).ok()
    };
    let member = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Member::File { offset, len },
        EntryType::Link => Member::Link {
            target: normal(&link()?, "")?,
        },
        EntryType::Symlink => {
            let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
            Member::Link {
                target: normal(&link()?, directory)?,
            }
        }
        _ => return None,
    };
    Some((name, member))
}

/// A name without `.`, `..` and doubled slashes, relative to `directory`. `None` if it leads out of the archive.
fn normal(name: &str, directory: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
