//! A test image's root as one erofs file, which every VMM can take for a disk.

use super::image::TAG;
use crate::cache::{Cache, remove_tree};
use crate::command::Run;
use crate::{images, needs};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Made by umoci and mkfs.erofs when the cache has none.
pub fn erofs(image: &str) -> Result<PathBuf> {
    needs::ensure(&[needs::BENCH])?;
    let layout = images::ensure([images::find(image)?])?.remove(0);
    let made = std::fs::canonicalize(&layout)?;
    let key = made
        .parent()
        .and_then(|dir| dir.file_name())
        .context("a layout is in a directory of the cache")?
        .to_string_lossy()
        .into_owned();
    let dir = Cache::open("roots")?.get_or_make(&key, |work| {
        let bundle = work.join("bundle");
        let mut umoci = Command::new("umoci");
        umoci
            .args(["unpack", "--image"])
            .arg(format!("{}:{TAG}", layout.display()))
            .arg(&bundle);
        if !rustix::process::geteuid().is_root() {
            umoci.arg("--rootless");
        }
        umoci.text()?;
        let mut mkfs = Command::new("mkfs.erofs");
        mkfs.arg("--quiet")
            .arg(work.join("root.erofs"))
            .arg(bundle.join("rootfs"))
            .text()?;
        remove_tree(&bundle)
    })?;
    Ok(dir.join("root.erofs"))
}
