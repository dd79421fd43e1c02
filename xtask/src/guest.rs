//! The guest binary and the initramfs that holds nothing else.

use crate::command::Run;
use crate::cpio::{Archive, Node};
use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// `cargo xtask guest`
pub fn run(_: &[String]) -> Result<()> {
    let binary = build()?;
    let archive = initramfs_of(&binary)?;
    let path = workspace::target()?.join("guest").join("initramfs");
    std::fs::write(&path, archive).with_context(|| format!("write {}", path.display()))?;
    println!("{}\n{}", binary.display(), path.display());
    Ok(())
}

/// The initramfs around a freshly built guest binary.
pub fn build_initramfs() -> Result<Vec<u8>> {
    initramfs_of(&build()?)
}

fn initramfs_of(binary: &Path) -> Result<Vec<u8>> {
    let binary = std::fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    Ok(initramfs(&binary))
}

/// Builds the guest binary.
fn build() -> Result<PathBuf> {
    build_static("guest", "supermachine-guest")
}

/// Builds a static program in a cargo invocation of its own: it wants other flags than the host's programs,
/// and what a workspace build leaves under the same name must never be taken for it.
pub fn build_static(package: &str, program: &str) -> Result<PathBuf> {
    let target_dir = workspace::target()?.join("guest");
    let mut cargo = workspace::cargo();
    cargo
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    cargo.env(
        "RUSTFLAGS",
        "-C target-feature=+crt-static -C relocation-model=static",
    );
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo.args(["build", "--release", "--package", package, "--bin", program]);
    cargo
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    cargo.checked()?;
    Ok(target_dir.join(TARGET).join("release").join(program))
}

/// An initramfs with nothing but a program that is PID 1. /dev/console has to exist before PID 1 mounts devtmpfs: the
/// kernel opens it for PID 1's first line.
pub fn initramfs(init: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive
        .add("dev", 0o755, &Node::Directory)
        .add(
            "dev/console",
            0o600,
            &Node::Character { major: 5, minor: 1 },
        )
        .add("proc", 0o755, &Node::Directory)
        .add("sys", 0o755, &Node::Directory)
        .add("init", 0o755, &Node::File(init));
    archive.finish()
}
