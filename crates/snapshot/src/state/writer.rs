//! Puts sections together.

use super::format::{ENTRY, FORMAT, HEADER, MAGIC, NAME_MAX};
use crate::Digest;
use serde::Serialize;

/// A state file being written.
#[derive(Default)]
pub struct StateWriter {
    sections: Vec<Section>,
}

struct Section {
    name: String,
    version: u16,
    content: Vec<u8>,
}

impl StateWriter {
    /// Without any section.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section that holds `value`.
    ///
    /// # Panics
    /// As [`StateWriter::put_bytes`]; also if the value's type has no fixed shape (postcard has no words for maps of
    /// unknown length). Both are mistakes of the program, whatever the data.
    pub fn put<T: Serialize>(&mut self, name: &str, version: u16, value: &T) {
        let content = postcard::to_allocvec(value).expect("a section's value has a fixed shape");
        self.add(name, version, content);
    }

    /// Adds a section that holds `bytes` as they are.
    ///
    /// # Panics
    /// If there is a section of this name already, or the name is empty or over 255 bytes, or the content is 4 GiB.
    pub fn put_bytes(&mut self, name: &str, version: u16, bytes: &[u8]) {
        self.add(name, version, bytes.to_vec());
    }

    fn add(&mut self, name: &str, version: u16, content: Vec<u8>) {
        assert!(
            (1..=NAME_MAX).contains(&name.len()),
            "{name:?} cannot name a section"
        );
        assert!(
            self.sections.iter().all(|section| section.name != name),
            "section {name:?} is there already"
        );
        self.sections.push(Section {
            name: name.to_owned(),
            version,
            content,
        });
    }

    /// The whole file.
    pub fn finish(self) -> Vec<u8> {
        let contents: usize = self.sections.iter().map(|s| s.content.len()).sum();
        let table: usize = self.sections.iter().map(|s| ENTRY + s.name.len()).sum();
        let mut file = Vec::with_capacity(HEADER + table + Digest::LEN + contents);
        file.extend(MAGIC);
        file.extend(FORMAT.to_le_bytes());
        file.extend(length(table).to_le_bytes());
        for section in &self.sections {
            file.push(u8::try_from(section.name.len()).expect("checked when it was added"));
            file.extend(section.name.as_bytes());
            file.extend(section.version.to_le_bytes());
            file.extend(length(section.content.len()).to_le_bytes());
            file.extend(Digest::of(&section.content).as_bytes());
        }
        let seal = Digest::of(&file);
        file.extend(seal.as_bytes());
        for section in &self.sections {
            file.extend(&section.content);
        }
        file
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a section is smaller than 4 GiB")
}
