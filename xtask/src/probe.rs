//! What this host's KVM is, asked of the VMM itself: the detection has one home.

use crate::command::Run;
use crate::kernel::Flavor;
use crate::{needs, workspace};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Which of cargo's profiles built the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`
    Debug,
    /// `cargo build --release`
    Release,
}

impl Profile {
    /// The flag for cargo, if any.
    pub const fn flag(self) -> Option<&'static str> {
        match self {
            Self::Debug => None,
            Self::Release => Some("--release"),
        }
    }

    /// The directory the programs are in.
    pub fn dir(self) -> Result<PathBuf> {
        Ok(workspace::target()?.join(match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }))
    }
}

/// The kernel flavor this host needs. Builds the VMM if necessary.
pub fn flavor(profile: Profile) -> Result<Flavor> {
    needs::kvm()?;
    workspace::cargo()
        .args(["build", "--package", "vmm"])
        .args(profile.flag())
        .checked()?;
    let text = Command::new(profile.dir()?.join("supermachine-vmm"))
        .arg("--probe")
        .text()?;
    let answer: Value =
        serde_json::from_str(&text).with_context(|| format!("the VMM's probe said {text}"))?;
    Flavor::parse(
        answer["flavor"]
            .as_str()
            .with_context(|| format!("no flavor in the VMM's probe: {text}"))?,
    )
}
