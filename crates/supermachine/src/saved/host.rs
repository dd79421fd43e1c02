//! The host a VM is saved on.

use super::error::{SavedError, failed};
use ::snapshot::manifest::{Cpu, Host};
use std::fs;
use std::path::Path;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const CPUINFO: &str = "/proc/cpuinfo";

/// Changes with every start of the host.
pub(crate) fn boot_id() -> Result<String, SavedError> {
    let path = Path::new(BOOT_ID);
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    Ok(text.trim().to_owned())
}

/// The release of the host's kernel.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

pub(super) fn host() -> Result<Host, SavedError> {
    Ok(Host {
        boot_id: boot_id()?,
        kernel: kernel_release(),
    })
}

/// The processor, for people. What the kernel does not tell is left blank.
pub(super) fn cpu() -> Result<Cpu, SavedError> {
    let path = Path::new(CPUINFO);
    Ok(parse(
        &fs::read_to_string(path).map_err(failed("read", path))?,
    ))
}

fn parse(cpuinfo: &str) -> Cpu {
    let field = |name: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let number = |name| {
        field(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    };
    Cpu {
        vendor: field("vendor_id").unwrap_or_default().to_owned(),
        family: number("cpu family"),
        model: number("model"),
        stepping: number("stepping"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_told_from_its_name() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n\nprocessor\t: 1\nmodel\t\t: 9\n";
        let cpu = parse(text);
        assert_eq!(
            (cpu.vendor.as_str(), cpu.family, cpu.model, cpu.stepping),
            ("AuthenticAMD", 25, 17, 1)
        );
        assert_eq!(parse("").vendor, "");
    }
}
