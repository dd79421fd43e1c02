//! What of a file is in the page cache.

use crate::command::Run;
use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every regular file below a directory that holds anything.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.len() > 0 {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Takes them out of the page cache: only what the disk has already can go.
pub fn evict(files: &[PathBuf]) -> Result<()> {
    for path in files {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// How much of them is there, by mincore.
pub fn resident_bytes(files: &[PathBuf]) -> Result<u64> {
    let mut fincore = Command::new("fincore");
    fincore
        .args(["--bytes", "--noheadings", "--output", "RES"])
        .args(files);
    let text = fincore.text()?;
    let sizes = text.split_whitespace().map(str::parse::<u64>);
    sizes
        .sum::<Result<u64, _>>()
        .with_context(|| format!("fincore said {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_until_it_is_evicted() {
        // Not in /tmp, which may be memory: that cannot be evicted.
        let dir = tempfile::tempdir_in(crate::workspace::target().unwrap()).unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), vec![1; 10_000]).unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        let files = files_below(dir.path()).unwrap();
        assert_eq!(files, [dir.path().join("below/file")]);
        assert_eq!(resident_bytes(&files).unwrap(), 3 * 4096);
        evict(&files).unwrap();
        assert_eq!(resident_bytes(&files).unwrap(), 0);
    }
}
