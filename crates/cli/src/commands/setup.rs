//! `setup`

use crate::args;
use crate::exit_code;
use crate::output::failure;
use crate::output::{json, stdout};
use serde::Serialize;
use supermachine::{Runtime, SetupReport};

/// Copies the VMM, kernels and initramfs to where programs that embed the library find them, and prints where.
pub fn carry_out(args: &args::Setup) -> anyhow::Result<u8> {
    let report = Runtime::new()?.setup()?;
    if args.json.json {
        json::print(&Json::from(&report))?;
        return Ok(exit_code::SUCCESS);
    }
    let what = if report.already_installed {
        "already there, and intact"
    } else {
        "installed"
    };
    failure::note(&format!(
        "{what}: {} from {}",
        report.files.join(", "),
        report.source.display()
    ));
    stdout::line(&report.dir.display().to_string()).map(|()| exit_code::SUCCESS)
}

/// The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Json {
    dir: String,
    source: String,
    files: Vec<String>,
    already_installed: bool,
}

impl From<&SetupReport> for Json {
    fn from(report: &SetupReport) -> Self {
        Self {
            dir: report.dir.display().to_string(),
            source: report.source.display().to_string(),
            files: report.files.clone(),
            already_installed: report.already_installed,
        }
    }
}
