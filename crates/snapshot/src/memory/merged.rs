//! Several layers as one.

use super::error::MemoryError;
use super::run::{PAGE_SIZE, Run, RunKind};
use super::{stream, table};
use crate::Digest;
use crate::digest::Hasher;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

/// A page is marked with the number of its layer, counted from 1, in a byte.
const MAX_LAYERS: usize = 255;

/// What the layers of a snapshot say together, as one memory that builds upon nothing: every page that some layer has
/// and none above it has zeroed.
#[derive(Debug)]
pub struct Merged {
    ram_bytes: u64,
    layers: Vec<File>,
    /// Of data only: where nothing is below, a page in no run is zero.
    runs: Vec<Run>,
    pieces: Vec<Piece>,
}

/// Pages that follow one another and are in the same layer.
#[derive(Debug)]
struct Piece {
    layer: usize,
    start: u64,
    end: u64,
}

impl Merged {
    /// Reads the tables of the layers, the lowest first. Takes a byte for each page of guest RAM while it does.
    pub fn new(layers: Vec<File>, ram_bytes: u64) -> Result<Self, MemoryError> {
        if layers.len() > MAX_LAYERS {
            return Err(MemoryError::Layers {
                found: layers.len(),
                max: MAX_LAYERS,
            });
        }
        let mut owners = vec![0; (ram_bytes / PAGE_SIZE) as usize];
        for (layer, number) in layers.iter().zip(1..) {
            for run in table::read_runs(layer, ram_bytes)? {
                let owner = match run.kind {
                    RunKind::Data => number,
                    RunKind::Zero => 0,
                };
                owners[run.first as usize..(run.first + run.pages) as usize].fill(owner);
            }
        }
        let runs = runs(&owners);
        stream::check_count(runs.len())?;
        Ok(Self {
            ram_bytes,
            layers,
            runs,
            pieces: pieces(&owners),
        })
    }

    /// Pages it has.
    pub fn pages(&self) -> u64 {
        self.runs.iter().map(|run| run.pages).sum()
    }

    /// Bytes that [`Self::write_to`] writes.
    pub fn stream_bytes(&self) -> u64 {
        stream::bytes(self.runs.len(), self.pages())
    }

    /// Writes the table of runs, without its own digest, and the pages in order: what the digest of a memory file is
    /// of. Gives that digest.
    pub fn write_to(&self, to: &mut impl Write) -> Result<Digest, MemoryError> {
        let mut hasher = Hasher::new();
        let mut show = |bytes: &[u8]| {
            hasher.update(bytes);
            to.write_all(bytes).map_err(MemoryError::Stream)
        };
        show(&table::encode(self.ram_bytes, &self.runs))?;
        let mut buffer = vec![0; stream::BUFFER as usize];
        for piece in &self.pieces {
            let mut at = piece.start;
            while at < piece.end {
                let part = &mut buffer[..(piece.end - at).min(stream::BUFFER) as usize];
                self.layers[piece.layer]
                    .read_exact_at(part, at)
                    .map_err(|source| MemoryError::ReadPage {
                        page: at / PAGE_SIZE,
                        source,
                    })?;
                show(part)?;
                at += part.len() as u64;
            }
        }
        Ok(hasher.finish())
    }
}

fn runs(owners: &[u8]) -> Vec<Run> {
    let alike = owners.chunk_by(|a, b| (*a == 0) == (*b == 0));
    let mut first = 0;
    let mut runs = Vec::new();
    for chunk in alike {
        let pages = chunk.len() as u64;
        if chunk[0] != 0 {
            runs.push(Run {
                first,
                pages,
                kind: RunKind::Data,
            });
        }
        first += pages;
    }
    runs
}

fn pieces(owners: &[u8]) -> Vec<Piece> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for chunk in owners.chunk_by(PartialEq::eq) {
        let end = start + chunk.len() as u64 * PAGE_SIZE;
        if let Some(layer) = usize::from(chunk[0]).checked_sub(1) {
            pieces.push(Piece { layer, start, end });
        }
        start = end;
    }
    pieces
}
