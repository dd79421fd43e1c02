//! Where things are: the repository and cargo's target directory.

use crate::command::Run;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the repository")
}

/// A cargo command that runs in the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// What cargo says about the workspace, without its dependencies.
pub fn metadata() -> Result<Value> {
    let text = cargo()
        .args(["metadata", "--format-version=1", "--no-deps"])
        .text()?;
    serde_json::from_str(&text).context("parse the output of cargo metadata")
}

/// Cargo's target directory (`CARGO_TARGET_DIR` moves it).
pub fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    Ok(PathBuf::from(
        metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target directory")?,
    ))
}

/// The release all crates of the workspace share.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
