//! `cargo xtask soak`: tests that repeat something, with as many rounds as would take too long for every day.

use crate::command::Run;
use crate::probe::{self, Profile};
use crate::{assets, images, needs, workspace};
use anyhow::Result;

/// Tests that ask `testkit::rounds`.
const TESTS: &str = "package(testkit) and test(many_cycles_leave_no)";

/// Builds what the tests stand on, and runs them. Arguments go to `cargo nextest run`.
pub fn run(arguments: &[String]) -> Result<()> {
    needs::kvm()?;
    needs::ensure(&[needs::BUILD, needs::KERNEL, needs::RUN])?;
    assets::install(Profile::Debug, &[probe::flavor(Profile::Debug)?])?;
    images::ensure([images::find("busybox")?])?;
    workspace::cargo()
        .args(["build", "--package", "cli", "--package", "vmm"])
        .checked()?;
    needs::nextest()?
        .env("SUPERMACHINE_SOAK", "1")
        .args(["run", "--profile", "soak", "--package", "testkit"])
        .args(["-E", TESTS])
        .args(arguments)
        .checked()
}
