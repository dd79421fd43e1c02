//! A program that holds a known value in every register and notices when one changes (`registers.c`), and nothing
//! else. It is C because it is assembler for the most part and must not share its registers with a library.

use super::layout::{Compression, Layout};
use super::tarball::{Entry, Tarball};
use super::{Recipe, inputs_with_code};
use crate::command::Run;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = include_str!("registers.c");

/// No library, one fixed place in memory, and the compiler itself keeps to the general registers.
const FLAGS: &[&str] = &[
    "-O1",
    "-static",
    "-nostdlib",
    "-ffreestanding",
    "-no-pie",
    "-fno-pie",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-mgeneral-regs-only",
    "-mno-red-zone",
    "-Wall",
    "-Wextra",
    "-Werror",
];

/// The image `registers`.
pub fn recipe() -> Result<Recipe> {
    let compiler = Command::new("cc").arg("--version").text()?;
    let inputs = [
        SOURCE.to_owned(),
        include_str!("registers.rs").to_owned(),
        compiler,
    ];
    Ok(Recipe {
        inputs: inputs_with_code(inputs),
        make: Box::new(make),
    })
}

fn make(room: &Path, image: &Path) -> Result<()> {
    let program = compile(room)?;
    let mut tar = Tarball::new();
    tar.add(&Entry::file(b"registers", &program).mode(0o755))?;
    let mut layout = Layout::create(image)?;
    layout.layer(&tar.finish()?, Compression::Gzip)?;
    layout.finish(&json!({"Entrypoint": ["/registers"]}))?;
    // For machines without our guest: the program as PID 1.
    let path = image.join("initramfs");
    std::fs::write(&path, crate::guest::initramfs(&program))
        .with_context(|| path.display().to_string())
}

fn compile(room: &Path) -> Result<Vec<u8>> {
    let (source, program) = (room.join("registers.c"), room.join("registers"));
    std::fs::write(&source, SOURCE).with_context(|| source.display().to_string())?;
    Command::new("cc")
        .args(FLAGS)
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .checked()?;
    std::fs::read(&program).with_context(|| program.display().to_string())
}
