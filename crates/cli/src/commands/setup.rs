//! `setup`

use crate::args;
use crate::exit_code;
use crate::output::failure;
use crate::output::{json, stdout};
use serde::Serialize;
use supermachine::{Runtime, SetupReport, VmConfig};

/// Copies the VMM, kernels and initramfs to where programs that embed the library find them, prepares the template
/// they start from, and prints where everything is.
pub fn carry_out(args: &args::Setup) -> anyhow::Result<u8> {
    let runtime = super::runtime()?;
    let report = runtime.setup()?;
    prepare(&runtime, &report);
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

/// A host that cannot run VMs now may later.
fn prepare(runtime: &Runtime, report: &SetupReport) {
    let prepared = Runtime::builder()
        .home(runtime.home())
        .libexec(&report.dir)
        .notices(|notice| failure::note(&notice.to_string()))
        .build()
        .and_then(|installed| installed.prepare(&VmConfig::new()));
    if let Err(error) = prepared {
        failure::note("no template is prepared, the first VM will make it:");
        failure::report(&error.into());
    }
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
