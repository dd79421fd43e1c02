//! Takes sections apart.

use super::StateError;
use super::format::{ENTRY, FORMAT, HEADER, MAGIC};
use crate::Digest;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::ops::Range;

/// A state file that is whole: every section is what it was when it was written.
#[derive(Debug)]
pub struct State {
    file: Vec<u8>,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    name: String,
    version: u16,
    content: Range<usize>,
}

impl State {
    /// Checks all of a file: every digest, and that there is neither more nor less than its table says.
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let table = table(&mut cursor)?;
        let mut sections = Vec::new();
        let mut names = HashSet::new();
        let mut entries = Cursor {
            bytes: table,
            at: 0,
        };
        while entries.at < table.len() {
            let entry = Entry::read(&mut entries)?;
            if !names.insert(entry.name) {
                return Err(StateError::Duplicate {
                    name: entry.name.to_owned(),
                });
            }
            let start = cursor.at;
            let content = cursor.take(entry.length, || format!("section {:?}", entry.name))?;
            if Digest::of(content).as_bytes() != entry.digest {
                return Err(StateError::Damaged {
                    name: entry.name.to_owned(),
                });
            }
            sections.push(Section {
                name: entry.name.to_owned(),
                version: entry.version,
                content: start..cursor.at,
            });
        }
        match bytes.len() - cursor.at {
            0 => Ok(Self {
                file: bytes.to_vec(),
                sections,
            }),
            bytes => Err(StateError::Trailing { bytes }),
        }
    }

    /// The value in a section.
    pub fn get<T: DeserializeOwned>(&self, name: &str, version: u16) -> Result<T, StateError> {
        let content = self.bytes(name, version)?;
        let (value, rest) =
            postcard::take_from_bytes(content).map_err(|source| StateError::Value {
                name: name.to_owned(),
                source,
            })?;
        if rest.is_empty() {
            return Ok(value);
        }
        Err(StateError::ValueTrailing {
            name: name.to_owned(),
            bytes: rest.len(),
        })
    }

    /// The content of a section that was written as bytes.
    pub fn bytes(&self, name: &str, version: u16) -> Result<&[u8], StateError> {
        let section = self
            .sections
            .iter()
            .find(|section| section.name == name)
            .ok_or_else(|| StateError::Missing {
                name: name.to_owned(),
            })?;
        if section.version != version {
            return Err(StateError::Version {
                name: name.to_owned(),
                found: section.version,
                known: version,
            });
        }
        Ok(&self.file[section.content.clone()])
    }

    /// Name, version and size in bytes of every section, in the file's order.
    pub fn sections(&self) -> impl Iterator<Item = (&str, u16, usize)> {
        self.sections.iter().map(|section| {
            (
                section.name.as_str(),
                section.version,
                section.content.len(),
            )
        })
    }
}

/// Reads up to the end of the table's digest; returns the table.
fn table<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], StateError> {
    let magic: [u8; 8] = cursor.array("the magic number")?;
    if magic != MAGIC {
        return Err(StateError::Magic { found: magic });
    }
    let format = u32::from_le_bytes(cursor.array("the format version")?);
    if format != FORMAT {
        return Err(StateError::Format { found: format });
    }
    let length = u32::from_le_bytes(cursor.array("the length of the table")?);
    let table = cursor.take(length, || "the table of sections".to_owned())?;
    let sealed = &cursor.bytes[..HEADER + table.len()];
    let seal: [u8; Digest::LEN] = cursor.array("the digest of the table")?;
    if *Digest::of(sealed).as_bytes() != seal {
        return Err(StateError::TableDamaged);
    }
    Ok(table)
}

/// One entry of the table.
struct Entry<'a> {
    name: &'a str,
    version: u16,
    length: u32,
    digest: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(table: &mut Cursor<'a>) -> Result<Self, StateError> {
        let left = table.bytes.len() - table.at;
        let name_length = usize::from(table.bytes[table.at]);
        if left < ENTRY + name_length {
            return Err(StateError::TableMalformed("its last entry is cut off"));
        }
        let [_] = table.array("an entry")?;
        let name = std::str::from_utf8(table.take(name_length as u32, || "a name".to_owned())?)
            .map_err(|_| StateError::TableMalformed("a name is not UTF-8"))?;
        if name.is_empty() {
            return Err(StateError::TableMalformed("a name is empty"));
        }
        Ok(Self {
            name,
            version: u16::from_le_bytes(table.array("a version")?),
            length: u32::from_le_bytes(table.array("a length")?),
            digest: table.take(Digest::LEN as u32, || "a digest".to_owned())?,
        })
    }
}

/// Bytes read from the front.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: u32, what: impl Fn() -> String) -> Result<&'a [u8], StateError> {
        let needed = length as usize;
        let left = &self.bytes[self.at..];
        let Some(taken) = left.get(..needed) else {
            return Err(StateError::Truncated {
                what: what(),
                needed,
                found: left.len(),
            });
        };
        self.at += needed;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], StateError> {
        let taken = self.take(N as u32, || what.to_owned())?;
        Ok(taken.try_into().expect("take returns what was asked for"))
    }
}
