//! `supermachine-vmm --probe`: what this host's KVM is, as one line of JSON on standard output.

use crate::hypervisor::kvm::{self, KvmError, Probe};

/// Looks and describes. Never fails: that KVM cannot be used is an answer too.
pub fn describe() -> String {
    match kvm::probe() {
        Ok(probe) => describe_kvm(&probe),
        Err(error) => {
            let state = match error {
                KvmError::Absent => "missing",
                KvmError::Denied => "denied",
                _ => "unusable",
            };
            format!(
                r#"{{"kvm":"{state}","error":"{}"}}"#,
                escape(&error.to_string())
            )
        }
    }
}

fn describe_kvm(probe: &Probe) -> String {
    let missing: Vec<String> = probe
        .missing
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    format!(
        r#"{{"kvm":"{}","api_version":{},"flavor":"{}","max_vcpus":{},"missing_caps":[{}]}}"#,
        if probe.missing.is_empty() {
            "ok"
        } else {
            "unusable"
        },
        probe.api_version,
        probe.flavor.name(),
        probe.max_vcpus,
        missing.join(",")
    )
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
