//! An image from scratch around Debian's busybox-static.

use super::layout::{Compression, Layout};
use super::tarball::{Entry, Tarball};
use super::{Recipe, inputs_with_code};
use crate::apt;
use crate::command::Run;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const PACKAGE: &str = "busybox-static";

/// The image `busybox`.
pub fn recipe() -> Result<Recipe> {
    Ok(Recipe {
        inputs: inputs_with_code([version()?]),
        make: Box::new(make),
    })
}

/// Which busybox it would be.
pub fn version() -> Result<String> {
    apt::candidate_version(PACKAGE)
}

fn make(room: &Path, image: &Path) -> Result<()> {
    let mut tar = Tarball::new();
    add_busybox(&mut tar, room)?;
    for directory in ["etc", "root", "usr", "usr/bin", "var", "home"] {
        tar.add(&Entry::directory(directory.as_bytes()))?;
    }
    tar.add(&Entry::directory(b"tmp").mode(0o1777))?;
    tar.add(&Entry::file(
        b"etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ))?;
    tar.add(&Entry::file(b"etc/group", b"root:x:0:\nnogroup:x:65534:\n"))?;
    let mut layout = Layout::create(image)?;
    layout.layer(&tar.finish()?, Compression::Gzip)?;
    layout.finish(&json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["sh"]}))
}

/// Puts busybox and its applets into /bin.
pub fn add_busybox(tar: &mut Tarball, room: &Path) -> Result<()> {
    let unpacked = room.join("busybox");
    apt::unpack(PACKAGE, &unpacked)?;
    let program = unpacked.join("bin").join("busybox");
    let bytes = std::fs::read(&program).with_context(|| format!("read {}", program.display()))?;
    tar.add(&Entry::directory(b"bin"))?;
    tar.add(&Entry::file(b"bin/busybox", &bytes).mode(0o755))?;
    let applets = Command::new(&program).arg("--list").text()?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        tar.add(&Entry::symlink(
            format!("bin/{applet}").as_bytes(),
            b"busybox",
        ))?;
    }
    Ok(())
}
