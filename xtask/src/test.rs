//! `cargo xtask test`: the checks without a run first, then what the tests stand on, then the tests.

use crate::command::Run;
use crate::kernel::Flavor;
use crate::probe::Profile;
use crate::steps::Steps;
use crate::{assets, images, needs, tidy, workspace};
use anyhow::Result;

/// Runs everything. Arguments go to `cargo nextest run`.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut steps = Steps::new();
    let result = all(&mut steps, arguments);
    if result.is_err() {
        steps.summary();
    }
    result
}

fn all(steps: &mut Steps, arguments: &[String]) -> Result<()> {
    steps.step("what the machine needs", || {
        needs::ensure(&[
            needs::BUILD,
            needs::KERNEL,
            needs::RUN,
            needs::IMAGES,
            needs::TEST,
        ])?;
        needs::kvm()?;
        needs::nextest().map(drop)
    })?;
    steps.step("fmt", || {
        workspace::cargo()
            .args(["fmt", "--all", "--check"])
            .checked()
    })?;
    steps.step("tidy", || tidy::run(&[]))?;
    steps.step("clippy", || {
        workspace::cargo()
            .args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])
            .checked()
    })?;
    steps.step("docs", || {
        let mut doc = workspace::cargo();
        doc.env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps"]);
        doc.checked()
    })?;
    // Both kernels: the one this host does not need is booted in emulation.
    steps.step("guest kernels, guest and initramfs", || {
        assets::install(Profile::Debug, &Flavor::ALL)
    })?;
    steps.step("test images", || {
        images::ensure(images::ALL.iter()).map(drop)
    })?;
    steps.step("build", || {
        workspace::cargo().args(["build", "--workspace"]).checked()
    })?;
    steps.step("doc tests", || {
        workspace::cargo()
            .args(["test", "--workspace", "--doc", "--quiet"])
            .checked()
    })?;
    steps.summary();
    // Last, so that its summary is the last thing said.
    needs::nextest()?
        .args(["run", "--workspace"])
        .args(arguments)
        .checked()
}
