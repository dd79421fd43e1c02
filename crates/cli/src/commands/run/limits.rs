//! Flags about what a workload may have and do, resolved.

use super::pair;
use crate::args::{self, Refusal};
use crate::commands::process::refuse;
use supermachine::{Ulimit, VmConfig};

/// What Docker offers to do without. There is none of it in a VM, where the kernel is the workload's own.
const UNCONFINED: [&str; 6] = [
    "seccomp=unconfined",
    "apparmor=unconfined",
    "label=disable",
    "systempaths=unconfined",
    "seccomp:unconfined",
    "label:disable",
];

/// Puts what the flags say into the configuration.
pub fn apply(mut config: VmConfig, limits: args::Limits) -> Result<VmConfig, Refusal> {
    for text in &limits.ulimit {
        let limit: Ulimit = text
            .parse()
            .map_err(|error| refuse("--ulimit", text, error))?;
        config = config.ulimit(limit);
    }
    if let Some(text) = &limits.pids_limit {
        match text.parse::<i64>() {
            // Docker's words for no limit.
            Ok(-1 | 0) => {}
            Ok(most @ 1..) => config = config.pids_limit(most.unsigned_abs()),
            _ => {
                let reason = "it takes a whole number, or -1 for no limit";
                return Err(refuse("--pids-limit", text, reason));
            }
        }
    }
    for text in &limits.cap_add {
        if !is_capability(text) {
            return Err(refuse("--cap-add", text, "not a capability"));
        }
    }
    for text in &limits.security_opt {
        if !UNCONFINED.contains(&text.as_str()) {
            let reason =
                "only what Docker would do without is known: a workload is confined by its VM";
            return Err(refuse("--security-opt", text, reason));
        }
    }
    for word in &limits.sysctl {
        let (name, value) = pair("--sysctl", word, "NAME=VALUE", &['='])?;
        config = config.sysctl(name, value);
    }
    Ok(limits.group_add.iter().fold(config, VmConfig::group))
}

/// `ALL`, `NET_ADMIN`, `cap_sys_admin`.
fn is_capability(text: &str) -> bool {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    name == "ALL" || CAPABILITIES.contains(&name)
}

/// capabilities(7).
const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Whole virtual CPUs, and a limit in thousandths where they are more than was asked for.
pub fn cpus(text: &str) -> Result<(u8, Option<u32>), Refusal> {
    let refused = || {
        let reason = "it takes a number of CPUs, like 2 or 1.5, 0.01 at least";
        refuse("--cpus", text, reason)
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole)
        || !digits(fraction)
        || text.len() > 20
        || (whole.is_empty() && fraction.is_empty())
    {
        return Err(refused());
    }
    let whole: u32 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| refused())?
    };
    let thousandths = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(3)
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let total = whole
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(thousandths))
        .filter(|total| *total >= 10)
        .ok_or_else(refused)?;
    let count = u8::try_from(total.div_ceil(1000)).map_err(|_| refused())?;
    Ok((count, (thousandths > 0).then_some(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_cpu_are_a_limit_on_whole_ones() {
        for (text, expected) in [
            ("1", (1, None)),
            ("2.0", (2, None)),
            ("1.5", (2, Some(1500))),
            (".25", (1, Some(250))),
            ("0.01", (1, Some(10))),
            ("254.999", (255, Some(254_999))),
        ] {
            assert_eq!(cpus(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            ".",
            "0",
            "0.001",
            "-1",
            "1.5.5",
            "x",
            "256",
            "1e3",
            "99999999999999999999",
        ] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_vm_gives_anyway_may_be_asked_for_and_nothing_else() {
        let ask = |limits| apply(VmConfig::new(), limits);
        let asked = args::Limits {
            cap_add: vec!["ALL".into(), "cap_net_admin".into()],
            security_opt: vec!["seccomp=unconfined".into()],
            privileged: true,
            pids_limit: Some("-1".into()),
            ..args::Limits::default()
        };
        assert_eq!(ask(asked), Ok(VmConfig::new()));
        let one = |change: fn(&mut args::Limits)| {
            let mut limits = args::Limits::default();
            change(&mut limits);
            ask(limits).unwrap_err().message
        };
        for (message, says) in [
            (
                one(|limits| limits.cap_add.push("FLY".into())),
                "not a capability",
            ),
            (
                one(|limits| limits.security_opt.push("no-new-privileges".into())),
                "--security-opt",
            ),
            (
                one(|limits| limits.pids_limit = Some("-2".into())),
                "--pids-limit",
            ),
            (
                one(|limits| limits.ulimit.push("files=1".into())),
                "--ulimit",
            ),
        ] {
            assert!(message.contains(says), "{message}");
        }
    }
}
