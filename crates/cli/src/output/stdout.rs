//! Writing to standard output.

use std::io::{self, Write};

/// Nobody reads our output any more. Not a failure to talk about: a filter ends quietly then.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct Gone;

/// Writes all of it, or fails with [`Gone`] if nobody reads any more.
pub fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Gone.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// Writes a line.
pub fn line(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes())
}
