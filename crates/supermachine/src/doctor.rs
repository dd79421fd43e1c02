//! What this host can do, check by check.

use crate::assets::{self, Assets};
use crate::home::Home;
use crate::scratch;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

const KVM: &str = "/dev/kvm";

/// Below this a pull or a busy workload fails soon.
const LOW_SPACE: u64 = 2 << 30;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What, in a word or two: `KVM present`.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found: `/dev/kvm, API version 12`.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub hint: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with a limit worth knowing.
    Warning,
    /// No VM can run.
    Failed,
    /// Could not be looked at because something before it failed.
    Skipped,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict,
            found: found.into(),
            hint: None,
        }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, Verdict::Ok, found)
    }

    fn failed(name: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..Self::new(name, Verdict::Failed, found)
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..Self::new(name, Verdict::Warning, found)
        }
    }

    fn skipped(name: &'static str, because: &str) -> Self {
        Self::new(name, Verdict::Skipped, because)
    }
}

/// What `supermachine-vmm --probe` prints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Probe {
    kvm: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    api_version: u32,
    #[serde(default)]
    flavor: String,
    #[serde(default)]
    max_vcpus: u32,
    #[serde(default)]
    missing_caps: Vec<String>,
}

/// Looks at everything a VM needs.
pub(crate) fn examine(home: &Home, libexec: Option<&Path>) -> Vec<Check> {
    let (assets_check, assets) = check_assets(libexec, home);
    let mut checks = vec![check_present(), check_permitted(), assets_check];
    checks.extend(check_kvm(assets.as_ref()));
    checks.extend([check_home(home), check_mkfs()]);
    checks
}

fn check_present() -> Check {
    const NAME: &str = "KVM present";
    match fs::metadata(KVM) {
        Ok(metadata) if metadata.file_type().is_char_device() => Check::ok(NAME, KVM),
        Ok(_) => Check::failed(
            NAME,
            format!("{KVM} is not a device"),
            "remove it and load the kvm module",
        ),
        Err(error) => Check::failed(
            NAME,
            format!("{KVM}: {error}"),
            "enable virtualization in the firmware, or nested virtualization on a cloud VM, and load kvm_intel or kvm_amd",
        ),
    }
}

fn check_permitted() -> Check {
    const NAME: &str = "KVM permitted";
    let Ok(metadata) = fs::metadata(KVM) else {
        return Check::skipped(NAME, "there is no /dev/kvm");
    };
    let owner = format!(
        "group {}, mode {:04o}",
        group_name(metadata.gid()),
        metadata.mode() & 0o7777
    );
    match fs::File::options().read(true).write(true).open(KVM) {
        Ok(_) => Check::ok(
            NAME,
            format!("{KVM} opens for reading and writing ({owner})"),
        ),
        Err(error) => Check::failed(
            NAME,
            format!("{KVM}: {error} ({owner})"),
            format!(
                "add yourself to the group: `sudo usermod -aG {} $USER`, then log in again",
                group_name(metadata.gid())
            ),
        ),
    }
}

/// The name of a group by /etc/group; its number where it has none.
fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
        })
        .unwrap_or_else(|| gid.to_string())
}

fn check_assets(libexec: Option<&Path>, home: &Home) -> (Check, Option<Assets>) {
    const NAME: &str = "VMM, kernel, initramfs";
    match assets::find(libexec, home).and_then(|assets| assets.verify().map(|()| assets)) {
        Ok(assets) => {
            let flavors: Vec<_> = assets.kernels.iter().map(|flavor| flavor.name()).collect();
            let found = format!(
                "{} (release {}, kernels: {})",
                assets.dir.display(),
                crate::RELEASE,
                flavors.join(", ")
            );
            (Check::ok(NAME, found), Some(assets))
        }
        Err(error) => {
            let error = crate::Error::from(error);
            let hint = error.hint().unwrap_or_default();
            (Check::failed(NAME, error.to_string(), hint), None)
        }
    }
}

fn check_kvm(assets: Option<&Assets>) -> Vec<Check> {
    const NAMES: [&str; 3] = ["KVM usable", "virtualization", "vCPUs"];
    let Some(assets) = assets else {
        return NAMES
            .iter()
            .map(|name| Check::skipped(name, "supermachine-vmm does the looking"))
            .collect();
    };
    match probe(&assets.vmm()) {
        Ok(probe) if probe.kvm == "ok" => judge_probe(&probe, assets),
        Ok(probe) => {
            let missing = if probe.missing_caps.is_empty() {
                probe.error
            } else {
                format!("KVM lacks {}", probe.missing_caps.join(", "))
            };
            let hint = "see the checks above; a newer kernel has what is missing";
            let mut checks = vec![Check::failed(NAMES[0], missing, hint)];
            checks.extend(
                NAMES[1..]
                    .iter()
                    .map(|name| Check::skipped(name, "KVM is not usable")),
            );
            checks
        }
        Err(reason) => vec![Check::failed(
            NAMES[0],
            reason,
            "reinstall supermachine-vmm",
        )],
    }
}

fn probe(vmm: &Path) -> Result<Probe, String> {
    let output = Command::new(vmm)
        .arg("--probe")
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("cannot run {}: {error}", vmm.display()))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{} --probe: {error}", vmm.display()))
}

fn judge_probe(probe: &Probe, assets: &Assets) -> Vec<Check> {
    let usable = Check::ok("KVM usable", format!("API version {}", probe.api_version));
    let software = probe.flavor == "software-kvm";
    let kind = match (
        software,
        assets
            .kernels
            .iter()
            .any(|flavor| flavor.name() == probe.flavor),
    ) {
        (_, false) => Check::failed(
            "virtualization",
            format!(
                "this host needs the {} kernel, and only the other one is installed",
                probe.flavor
            ),
            "build it with `cargo xtask kernel`, then run `supermachine setup`",
        ),
        (true, true) => Check::warning(
            "virtualization",
            "software KVM; the software-kvm kernel runs",
            "programs inside one VM can read that VM's kernel memory; the wall around the VM is not weakened",
        ),
        (false, true) => Check::ok("virtualization", "hardware; the standard kernel runs"),
    };
    let vcpus = if software {
        Check::warning(
            "vCPUs",
            "one per VM",
            "more than one needs hardware virtualization",
        )
    } else {
        Check::ok("vCPUs", format!("up to {} per VM", probe.max_vcpus))
    };
    vec![usable, kind, vcpus]
}

fn check_home(home: &Home) -> Check {
    const NAME: &str = "state directory";
    let dir = home.dir().display();
    let free = match statvfs(home.dir()) {
        Ok(stat) => stat.f_bavail * stat.f_frsize,
        Err(error) => {
            return Check::failed(
                NAME,
                format!("{dir}: {error}"),
                "set SUPERMACHINE_HOME to a directory of yours",
            );
        }
    };
    let found = format!("{dir}, {} MiB free", free >> 20);
    if free < LOW_SPACE {
        return Check::warning(
            NAME,
            found,
            "`supermachine prune` removes what no image needs",
        );
    }
    Check::ok(NAME, found)
}

fn check_mkfs() -> Check {
    const NAME: &str = "mkfs.ext4";
    match scratch::find_mkfs() {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None => Check::failed(
            NAME,
            "not found in /usr/sbin, /sbin, /usr/bin or /usr/local/sbin",
            "install e2fsprogs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RELEASE;
    use crate::assets::tests::write_set;
    use std::os::unix::fs::PermissionsExt;

    fn checks_with(probe: &str) -> Vec<Check> {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("home")).unwrap();
        let set = dir.path().join("set");
        write_set(&set, RELEASE);
        let vmm = set.join(assets::VMM);
        fs::write(&vmm, format!("#!/bin/sh\necho '{probe}'\n")).unwrap();
        fs::set_permissions(&vmm, fs::Permissions::from_mode(0o755)).unwrap();
        examine(&home, Some(&set))
    }

    fn verdict(checks: &[Check], name: &str) -> Verdict {
        checks
            .iter()
            .find(|check| check.name == name)
            .unwrap()
            .verdict
    }

    #[test]
    fn hardware_with_its_kernel_is_fine_and_software_without_its_kernel_is_not() {
        let hardware = checks_with(
            r#"{"kvm":"ok","api_version":12,"flavor":"standard","max_vcpus":8,"missing_caps":[]}"#,
        );
        assert_eq!(verdict(&hardware, "virtualization"), Verdict::Ok);
        assert_eq!(verdict(&hardware, "vCPUs"), Verdict::Ok);
        let software = checks_with(
            r#"{"kvm":"ok","api_version":12,"flavor":"software-kvm","max_vcpus":8,"missing_caps":[]}"#,
        );
        assert_eq!(verdict(&software, "virtualization"), Verdict::Failed);
        assert_eq!(verdict(&software, "vCPUs"), Verdict::Warning);
    }

    #[test]
    fn a_kvm_that_cannot_be_used_and_a_vmm_that_talks_nonsense_are_failures() {
        let denied = checks_with(r#"{"kvm":"denied","error":"permission denied"}"#);
        assert_eq!(verdict(&denied, "KVM usable"), Verdict::Failed);
        assert_eq!(verdict(&denied, "vCPUs"), Verdict::Skipped);
        assert_eq!(
            verdict(&checks_with("nonsense"), "KVM usable"),
            Verdict::Failed
        );
    }
}
