//! `--cidfile`

use anyhow::Context;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// A file for the id of a VM that is about to start. It goes again if nothing is written to it.
#[derive(Debug)]
pub struct CidFile {
    path: PathBuf,
    file: Option<File>,
}

impl CidFile {
    /// Makes the file. One that exists may tell of another VM that somebody still wants to find.
    pub fn reserve(path: PathBuf) -> anyhow::Result<Self> {
        let file = File::create_new(&path)
            .with_context(|| format!("--cidfile {}: cannot make it", path.display()))?;
        Ok(Self {
            path,
            file: Some(file),
        })
    }

    /// Writes the id.
    pub fn write(mut self, id: &str) -> anyhow::Result<()> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        file.write_all(id.as_bytes())
            .with_context(|| format!("--cidfile {}: cannot write", self.path.display()))
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
