//! What is measured: our programs and the guest they boot, as `cargo xtask demo` leaves them, or the directory that
//! `$SUPERMACHINE_LIBEXEC` names.

use crate::command::Run;
use crate::kernel::Flavor;
use crate::probe::{self, Profile};
use crate::{assets, needs, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Our programs and the guest.
pub struct Programs {
    /// Where they are.
    pub dir: PathBuf,
    /// Of the guest kernel.
    pub flavor: Flavor,
}

impl Programs {
    /// Those of `$SUPERMACHINE_LIBEXEC`, or built here.
    pub fn find() -> Result<Self> {
        needs::kvm()?;
        let programs = match std::env::var_os("SUPERMACHINE_LIBEXEC") {
            Some(dir) => Self::in_directory(PathBuf::from(dir))?,
            None => Self::build()?,
        };
        for file in [programs.vmm(), programs.kernel(), programs.initramfs()] {
            if !file.is_file() {
                bail!("{} is missing: run `cargo xtask demo`", file.display());
            }
        }
        Ok(programs)
    }

    fn in_directory(dir: PathBuf) -> Result<Self> {
        let probe = ask(&dir.join("supermachine-vmm"))?;
        let flavor = probe["flavor"]
            .as_str()
            .with_context(|| format!("the VMM cannot use KVM here: {probe}"))?;
        Ok(Self {
            flavor: Flavor::parse(flavor)?,
            dir,
        })
    }

    fn build() -> Result<Self> {
        eprintln!("==> building what is measured");
        let flavor = probe::flavor(Profile::Release)?;
        assets::install(Profile::Release, &[flavor])?;
        workspace::cargo()
            .args(["build", "--release", "--package", "cli", "--package", "vmm"])
            .checked()?;
        Ok(Self {
            dir: Profile::Release.dir()?,
            flavor,
        })
    }

    /// The process around one VM.
    pub fn vmm(&self) -> PathBuf {
        self.dir.join("supermachine-vmm")
    }

    /// The guest kernel this host needs.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(format!("kernel-{}", self.flavor.name()))
    }

    /// PID 1 and nothing else.
    pub fn initramfs(&self) -> PathBuf {
        self.dir.join("initramfs")
    }

    /// The command line program, which not every row needs.
    pub fn cli(&self) -> Result<PathBuf> {
        let path = self.dir.join("supermachine");
        if !path.is_file() {
            bail!("{} is missing: run `cargo xtask demo`", path.display());
        }
        Ok(path)
    }

    /// What the VMM says about this host's KVM.
    pub fn probe(&self) -> Result<Value> {
        ask(&self.vmm())
    }
}

fn ask(vmm: &Path) -> Result<Value> {
    let text = Command::new(vmm).arg("--probe").text()?;
    serde_json::from_str(&text).with_context(|| format!("the VMM's probe said {text}"))
}
