//! Our own test program (`src/bin/testbox`), built static, and the image that holds nothing else.

use super::layout::{Compression, Layout};
use super::tarball::{Entry, Tarball};
use super::{Recipe, inputs_with_code};
use crate::{digest, guest};
use anyhow::{Context, Result};
use serde_json::json;

/// The image `static`.
pub fn recipe() -> Result<Recipe> {
    let program = program()?;
    Ok(Recipe {
        inputs: inputs_with_code([digest::of_bytes(&program)]),
        make: Box::new(move |_, image| {
            let mut tar = Tarball::new();
            tar.add(&Entry::file(b"testbox", &program).mode(0o755))?;
            let mut layout = Layout::create(image)?;
            layout.layer(&tar.finish()?, Compression::Zstd)?;
            layout.finish(&json!({"Entrypoint": ["/testbox"], "Cmd": ["argv", "hello"]}))
        }),
    })
}

/// The test program's bytes.
pub fn program() -> Result<Vec<u8>> {
    let path = guest::build_static("xtask", "testbox")?;
    std::fs::read(&path).with_context(|| format!("read {}", path.display()))
}
