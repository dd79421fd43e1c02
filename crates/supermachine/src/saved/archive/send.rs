//! A snapshot on its way out.

use super::entry::{Packer, cannot_write};
use super::error::ArchiveError;
use super::{Entry, FORMAT, content};
use crate::home::Home;
use crate::saved::{Saved, SavedError, disk};
use ::snapshot::Digest;
use ::snapshot::manifest::{Disk, Manifest, Memory};
use ::snapshot::memory::{MemoryError, Merged};
use std::io::{self, Read, Write};

/// Writes a snapshot as one file. What it is made of is verified first, so that damage is not sealed anew, and
/// compared again while it is written.
pub(crate) fn send(saved: &Saved, home: &Home, to: &mut impl Write) -> Result<(), SavedError> {
    saved.verify()?;
    let bases = saved.bases(home)?;
    for base in &bases {
        base.verify()?;
    }
    let files = saved.files(home)?;
    let memory = Merged::new(files.memory, saved.memory_bytes()).map_err(ArchiveError::Memory)?;
    let digest = memory
        .write_to(&mut io::sink())
        .map_err(ArchiveError::Memory)?;
    let manifest = alone(&saved.manifest, memory.pages(), digest);
    let sealed = content::check(&manifest)?;
    let layers = writable(&saved.manifest).map_or(&[][..], |disk| &disk.files);
    let layers = disk::open(&saved.dir, layers)?;
    let disk_bytes = content::disk_bytes(&layers)?;

    let mut packer = Packer::new(to)?;
    let text = |packer: &mut Packer<_>, entry, text: &[u8]| {
        packer.entry(entry, text.len() as u64, |to| {
            to.write_all(text).map_err(cannot_write(entry))
        })
    };
    text(&mut packer, Entry::Format, format!("{FORMAT}\n").as_bytes())?;
    text(&mut packer, Entry::Manifest, manifest.to_json().as_bytes())?;
    let mut state = Vec::new();
    (&files.state)
        .take(content::MAX_STATE)
        .read_to_end(&mut state)
        .map_err(cannot_read_own(saved, Entry::State))?;
    text(&mut packer, Entry::State, &state)?;
    content::compare(Entry::State, Digest::of(&state), manifest.state.digest)?;
    let sent = packer.entry(Entry::Memory, memory.stream_bytes(), |mut to| {
        memory.write_to(&mut to).map_err(|error| match error {
            MemoryError::Stream(source) => cannot_write(Entry::Memory)(source),
            other => ArchiveError::Memory(other),
        })
    })?;
    content::compare(Entry::Memory, sent, digest)?;
    let sent = packer.entry(Entry::Disk, disk_bytes, |to| {
        content::send_disk(&layers, disk_bytes, to)
    })?;
    content::compare(Entry::Disk, sent, sealed.digest)?;
    Ok(packer.finish()?)
}

/// The manifest of the same snapshot without what it builds upon.
fn alone(manifest: &Manifest, pages: u64, digest: Digest) -> Manifest {
    Manifest {
        base: None,
        memory: Memory { pages, digest },
        disks: manifest.disks.iter().map(in_one_file).collect(),
        ..manifest.clone()
    }
}

fn in_one_file(disk: &Disk) -> Disk {
    let mut disk = disk.clone();
    if !disk.files.is_empty() {
        disk.files = vec![Entry::Disk.name().to_owned()];
    }
    disk
}

fn writable(manifest: &Manifest) -> Option<&Disk> {
    manifest.disks.iter().find(|disk| !disk.files.is_empty())
}

fn cannot_read_own(saved: &Saved, entry: Entry) -> impl Fn(io::Error) -> SavedError {
    let path = saved.dir.join(entry.name());
    move |source| SavedError::File {
        step: "read",
        path: path.clone(),
        source,
    }
}
