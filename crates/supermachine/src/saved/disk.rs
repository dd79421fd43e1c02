//! The writable disk of a snapshot: what is in it besides zeros.

use super::error::{SavedError, failed};
use ::snapshot::Digest;
use ::snapshot::disk::Layers;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::path::Path;

/// Disks are compared in pieces of this size; pieces of zeros do not count, so that holes make no difference.
pub(super) const PIECE: u64 = 64 << 10;

/// Opens the disk that files of a directory make, the lowest first.
pub(super) fn open(dir: &Path, names: &[String]) -> Result<Layers, SavedError> {
    let mut files = Vec::new();
    for name in names {
        let path = dir.join(name);
        files.push(File::open(&path).map_err(failed("open", &path))?);
    }
    Layers::new(files).map_err(failed("read the disk in", dir))
}

/// Shows every piece that is not all zeros, with its offset, in order.
pub(super) fn each_piece(
    disk: &Layers,
    dir: &Path,
    mut show: impl FnMut(u64, &[u8]) -> Result<(), SavedError>,
) -> Result<(), SavedError> {
    let len = disk.bytes();
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while let Some(data) = disk.next_data(at) {
        at = data.start - data.start % PIECE;
        let piece = &mut buffer[..(len - at).min(PIECE) as usize];
        disk.read_exact_at(piece, at)
            .map_err(failed("read the disk in", dir))?;
        if piece.iter().any(|byte| *byte != 0) {
            show(at, piece)?;
        }
        at += PIECE;
    }
    Ok(())
}

/// SHA-256 over the offset and content of every piece of a disk that is not zero.
pub(super) fn digest(dir: &Path, names: &[String]) -> Result<Digest, SavedError> {
    let disk = open(dir, names)?;
    let mut hasher = Sha256::new();
    each_piece(&disk, dir, |at, piece| {
        hasher.update(at.to_le_bytes());
        hasher.update(piece);
        Ok(())
    })?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::FileExt;

    fn of(dir: &Path, names: &[&str]) -> Digest {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        digest(dir, &names).unwrap()
    }

    #[test]
    fn the_digest_of_a_disk_does_not_depend_on_its_holes_but_on_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let file = File::create(dir.join("sparse")).unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(b"x", 3_000_000).unwrap();
        fs::write(dir.join("dense"), fs::read(dir.join("sparse")).unwrap()).unwrap();
        let before = of(dir, &["sparse"]);
        assert_eq!(of(dir, &["dense"]), before);
        file.write_all_at(b"y", 3_000_000).unwrap();
        assert_ne!(of(dir, &["sparse"]), before);
        let moved = File::create(dir.join("sparse")).unwrap();
        moved.set_len(4 << 20).unwrap();
        moved.write_all_at(b"x", 3_000_000 + PIECE).unwrap();
        assert_ne!(of(dir, &["sparse"]), before);
    }

    #[test]
    fn the_digest_of_layers_is_that_of_the_disk_they_make() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for (name, writes) in [
            ("low", [(0_u64, b"ab"), (8192, b"cd")]),
            ("high", [(8192, b"ef"), (1 << 20, b"gh")]),
            ("one", [(0, b"ab"), (8192, b"ef")]),
        ] {
            let file = File::create(dir.join(name)).unwrap();
            file.set_len(4 << 20).unwrap();
            for (offset, bytes) in writes {
                file.write_all_at(bytes, offset).unwrap();
            }
        }
        let one = File::options().write(true).open(dir.join("one")).unwrap();
        one.write_all_at(b"gh", 1 << 20).unwrap();
        assert_eq!(of(dir, &["low", "high"]), of(dir, &["one"]));
        assert_ne!(of(dir, &["high", "low"]), of(dir, &["one"]));
    }
}
