//! Debian's package manager: versions, downloads and installations.

use crate::command::Run;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of an installed package.
pub fn installed_version(package: &str) -> Result<String> {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${Version}", package])
        .text()
}

/// The version that would be installed or downloaded now.
pub fn candidate_version(package: &str) -> Result<String> {
    let policy = Command::new("apt-cache")
        .env("LC_ALL", "C")
        .args(["policy", package])
        .text()?;
    let candidate = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "));
    match candidate {
        Some(version) if version != "(none)" => Ok(version.to_owned()),
        _ => bail!("apt knows no package {package}; run `apt-get update` first"),
    }
}

/// Unpacks a package into a directory without installing it (which needs no root and changes nothing).
pub fn unpack(package: &str, into: &Path) -> Result<()> {
    let debs = into.join(".debs");
    std::fs::create_dir_all(&debs)?;
    let mut download = Command::new("apt-get");
    // The sandbox user of apt cannot write to our directory; it would warn about that and go on without.
    download
        .current_dir(&debs)
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]);
    download.text()?;
    let deb = only_file(&debs)?;
    Command::new("dpkg-deb")
        .arg("--extract")
        .arg(&deb)
        .arg(into)
        .checked()?;
    crate::cache::remove_tree(&debs)
}

/// Installs packages; the caller has said why.
pub fn install(packages: &[&str]) -> Result<()> {
    if !lists_present() {
        update()?;
    }
    if install_once(packages).is_ok() {
        return Ok(());
    }
    // Stale lists name versions the mirror no longer has.
    update()?;
    install_once(packages)
}

/// The command line a person without root passes to an administrator.
pub fn install_line(packages: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    )
}

fn update() -> Result<()> {
    apt_get().args(["-q", "update"]).text().map(drop)
}

fn install_once(packages: &[&str]) -> Result<()> {
    apt_get()
        .args(["-q", "install", "-y", "--no-install-recommends"])
        .args(packages)
        .text()
        .map(drop)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn lists_present() -> bool {
    let lists = std::fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .flatten();
    lists
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().contains("Packages"))
}

fn only_file(dir: &Path) -> Result<PathBuf> {
    let entry = std::fs::read_dir(dir)?
        .next()
        .with_context(|| format!("apt-get left nothing in {}", dir.display()))?;
    Ok(entry?.path())
}
