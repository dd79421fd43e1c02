//! The writable disk of a snapshot: what is in it besides zeros.

use super::error::{SavedError, failed};
use ::snapshot::Digest;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Disks are compared in pieces of this size; pieces of zeros do not count, so that holes make no difference.
pub(super) const PIECE: u64 = 64 << 10;

/// Shows every piece that is not all zeros, with its offset, in order.
pub(super) fn each_piece(
    file: &File,
    path: &Path,
    mut show: impl FnMut(u64, &[u8]) -> Result<(), SavedError>,
) -> Result<(), SavedError> {
    let len = file.metadata().map_err(failed("look at", path))?.len();
    let mut buffer = vec![0; PIECE as usize];
    let mut at = 0;
    while at < len {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data - data % PIECE,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(failed("read", path)(errno)),
        };
        let piece = &mut buffer[..(len - at).min(PIECE) as usize];
        file.read_exact_at(piece, at)
            .map_err(failed("read", path))?;
        if piece.iter().any(|byte| *byte != 0) {
            show(at, piece)?;
        }
        at += PIECE;
    }
    Ok(())
}

/// SHA-256 over the offset and content of every piece of a disk that is not zero.
pub(super) fn digest(path: &Path) -> Result<Digest, SavedError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let mut hasher = Sha256::new();
    each_piece(&file, path, |at, piece| {
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

    #[test]
    fn the_digest_of_a_disk_does_not_depend_on_its_holes_but_on_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let [sparse, dense] = ["sparse", "dense"].map(|name| dir.path().join(name));
        let file = File::create(&sparse).unwrap();
        file.set_len(4 << 20).unwrap();
        file.write_all_at(b"x", 3_000_000).unwrap();
        fs::write(&dense, fs::read(&sparse).unwrap()).unwrap();
        let before = digest(&sparse).unwrap();
        assert_eq!(digest(&dense).unwrap(), before);
        file.write_all_at(b"y", 3_000_000).unwrap();
        assert_ne!(digest(&sparse).unwrap(), before);
        let moved = File::create(&sparse).unwrap();
        moved.set_len(4 << 20).unwrap();
        moved.write_all_at(b"x", 3_000_000 + PIECE).unwrap();
        assert_ne!(digest(&sparse).unwrap(), before);
    }
}
