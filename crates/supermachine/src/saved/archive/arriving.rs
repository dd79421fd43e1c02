//! A snapshot on its way in.

use super::entry::{Unpacker, cannot_read};
use super::error::ArchiveError;
use super::{Entry, FORMAT, content};
use crate::saved::error::failed;
use crate::saved::{MANIFEST, SavedError, Staging, seal};
use ::snapshot::manifest::{MAX_BYTES, Manifest};
use ::snapshot::memory::{MemoryError, receive};
use ::snapshot::{Digest, State};
use std::io::{Read, Write};

/// The format's number has a few digits.
const MAX_FORMAT: u64 = 16;

/// An archive whose manifest was read, and no more of it.
pub(crate) struct Arriving<R: Read> {
    unpacker: Unpacker<R>,
    manifest: Manifest,
}

impl<R: Read> Arriving<R> {
    /// Reads as far as the manifest, and checks what that says of the rest.
    pub(crate) fn new(from: R) -> Result<Self, ArchiveError> {
        let mut unpacker = Unpacker::new(from)?;
        let format = unpacker.entry(Entry::Format, |from, size| {
            whole(Entry::Format, from, size, MAX_FORMAT)
        })?;
        if format != format!("{FORMAT}\n").as_bytes() {
            let found = String::from_utf8_lossy(&format).trim_end().to_owned();
            return Err(ArchiveError::Format { found });
        }
        let text = unpacker.entry(Entry::Manifest, |from, size| {
            whole(Entry::Manifest, from, size, MAX_BYTES as u64)
        })?;
        let manifest = Manifest::parse(&text).map_err(ArchiveError::Manifest)?;
        content::check(&manifest)?;
        Ok(Self { unpacker, manifest })
    }

    pub(crate) const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads the rest, compares it with the manifest, and leaves in `staging` all of a snapshot of this name, durably.
    pub(crate) fn unpack(mut self, staging: &Staging, name: &str) -> Result<(), SavedError> {
        self.state(staging)?;
        self.memory(staging)?;
        self.disk(staging)?;
        self.unpacker.finish()?;
        for entry in [Entry::State, Entry::Memory, Entry::Disk] {
            seal::sync(&staging.dir().join(entry.name()))?;
        }
        let manifest = Manifest {
            name: name.to_owned(),
            ..self.manifest
        };
        staging.write(MANIFEST, manifest.to_json().as_bytes())
    }

    fn state(&mut self, staging: &Staging) -> Result<(), SavedError> {
        let expected = self.manifest.state;
        let state = self.unpacker.entry(Entry::State, |from, size| {
            expect_size(Entry::State, size, expected.bytes)?;
            whole(Entry::State, from, size, content::MAX_STATE)
        })?;
        // The damaged section by name, where there is one.
        State::parse(&state).map_err(ArchiveError::State)?;
        content::compare(Entry::State, Digest::of(&state), expected.digest)?;
        let path = staging.dir().join(Entry::State.name());
        staging
            .file(Entry::State.name())?
            .write_all(&state)
            .map_err(failed("write", &path))
    }

    fn memory(&mut self, staging: &Staging) -> Result<(), SavedError> {
        let file = staging.file(Entry::Memory.name())?;
        let ram_bytes = u64::from(self.manifest.memory_mib) << 20;
        let received = self.unpacker.entry(Entry::Memory, |mut from, size| {
            receive(&mut from, size, &file, ram_bytes).map_err(|error| match error {
                MemoryError::Stream(source) => cannot_read(Entry::Memory)(source),
                other => ArchiveError::Memory(other),
            })
        })?;
        let expected = self.manifest.memory;
        content::compare(Entry::Memory, received.digest, expected.digest)?;
        if received.pages != expected.pages {
            let what = "number of pages";
            return Err(ArchiveError::Facts { what }.into());
        }
        Ok(())
    }

    fn disk(&mut self, staging: &Staging) -> Result<(), SavedError> {
        let expected = content::check(&self.manifest)?;
        let file = staging.file(Entry::Disk.name())?;
        let path = staging.dir().join(Entry::Disk.name());
        file.set_len(expected.bytes)
            .map_err(failed("write", &path))?;
        let found = self.unpacker.entry(Entry::Disk, |from, size| {
            content::receive_disk(from, size, &file, &path)
        })?;
        Ok(content::compare(Entry::Disk, found, expected.digest)?)
    }
}

/// A small entry as a whole.
fn whole(entry: Entry, from: &mut dyn Read, size: u64, most: u64) -> Result<Vec<u8>, ArchiveError> {
    if size > most {
        expect_size(entry, size, most)?;
    }
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(cannot_read(entry))?;
    if (bytes.len() as u64) < size {
        let entry = entry.name();
        return Err(ArchiveError::Truncated { entry });
    }
    Ok(bytes)
}

fn expect_size(entry: Entry, found: u64, expected: u64) -> Result<(), ArchiveError> {
    if found == expected {
        return Ok(());
    }
    Err(ArchiveError::Size {
        entry: entry.name(),
        found,
        expected,
    })
}
