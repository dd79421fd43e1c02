//! `version`

use crate::args;
use crate::exit_code;
use crate::output::{json, stdout};
use serde::Serialize;

/// The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Json {
    release: &'static str,
    os: &'static str,
    architecture: &'static str,
}

/// Prints the release. `supermachine-vmm` and the kernels must be of the same.
pub fn carry_out(args: &args::Version) -> anyhow::Result<u8> {
    let version = Json {
        release: supermachine::RELEASE,
        os: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
    };
    if args.json.json {
        json::print(&version)?;
    } else {
        stdout::line(&format!(
            "supermachine {} {}/{}",
            version.release, version.os, version.architecture
        ))?;
    }
    Ok(exit_code::SUCCESS)
}
