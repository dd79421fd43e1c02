//! `cargo xtask demo`: from a bare machine to a command of an image running in a microVM.

use crate::command::Run;
use crate::probe::Profile;
use crate::steps::{Steps, seconds};
use crate::{assets, images, needs, probe, workspace};
use anyhow::Result;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const GREETING: &str = "echo \"Hello from $(uname -sr), alone in a microVM\"; cat /proc/loadavg";

/// Builds and shows.
pub fn run(_: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("what the machine needs", || {
        needs::kvm()?;
        needs::ensure(&[needs::BUILD, needs::KERNEL, needs::RUN])
    })?;
    let flavor = steps.step("supermachine-vmm, to ask KVM what it is", || {
        probe::flavor(Profile::Release)
    })?;
    steps.step("guest kernel, guest and initramfs", || {
        eprintln!("      this host's KVM needs the {} kernel", flavor.name());
        assets::install(Profile::Release, &[flavor])
    })?;
    steps.step("supermachine", || {
        workspace::cargo()
            .args(["build", "--release", "--package", "cli", "--package", "vmm"])
            .checked()
    })?;
    let image = steps.step("a busybox image", || {
        Ok(images::ensure([images::find("busybox")?])?.remove(0))
    })?;
    let program = Profile::Release.dir()?.join("supermachine");
    steps.step("supermachine run", || show(&program, &image))?;
    steps.summary();
    print_what_next(&program, &image);
    Ok(())
}

fn show(program: &Path, image: &Path) -> Result<()> {
    let reference = format!("oci:{}", image.display());
    let mut command = Command::new(program);
    command.args(["run", "--rm", &reference, "sh", "-c", GREETING]);
    eprintln!(
        "      $ {} run --rm {reference} sh -c '{GREETING}'",
        program.display()
    );
    let started = Instant::now();
    command.checked()?;
    eprintln!("      that took {}", seconds(started.elapsed()));
    Ok(())
}

fn print_what_next(program: &Path, image: &Path) {
    let program = program.display();
    eprintln!("==> try next");
    eprintln!("  {program} run -i --rm oci:{} sh", image.display());
    eprintln!("  {program} run --rm docker.io/library/alpine echo hi     # needs the internet");
    eprintln!("  {program} doctor");
    eprintln!("  cargo xtask test");
}
