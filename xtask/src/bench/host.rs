//! What the figures were measured on.

use super::programs::Programs;
use crate::kernel::Flavor;
use anyhow::Result;
use serde_json::{Value, json};
use std::fs;

/// A description of this host.
#[derive(Debug, Clone)]
pub struct Host {
    cpu: String,
    cores: usize,
    kernel: String,
    kvm: String,
    guest_kernel: String,
    memory_mib: u64,
    huge_pages: String,
    load: String,
}

/// Everything but KVM. Taken before anything is built or started, so that the load is the machine's own.
pub fn describe() -> Host {
    Host {
        cpu: read("/proc/cpuinfo", |text| field(text, "model name")),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: read("/proc/sys/kernel/osrelease", |text| Some(text.to_owned())),
        kvm: String::new(),
        guest_kernel: String::new(),
        memory_mib: read("/proc/meminfo", |text| field(text, "MemTotal"))
            .trim_end_matches(" kB")
            .parse()
            .map_or(0, |kib: u64| kib / 1024),
        huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled", |text| {
            Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
        }),
        load: read("/proc/loadavg", |text| {
            Some(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
        }),
    }
}

impl Host {
    /// Adds what the VMM knows.
    pub fn with_kvm(self, programs: &Programs) -> Result<Self> {
        let probe = programs.probe()?;
        let kind = match programs.flavor {
            Flavor::SoftwareKvm => "software",
            Flavor::Standard => "hardware",
        };
        Ok(Self {
            kvm: format!("{kind} (API {})", probe["api_version"]),
            guest_kernel: programs.flavor.name().to_owned(),
            ..self
        })
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "cores": self.cores,
            "kernel": self.kernel,
            "kvm": self.kvm,
            "guest_kernel": self.guest_kernel,
            "memory_mib": self.memory_mib,
            "transparent_huge_pages": self.huge_pages,
            "load_at_start": self.load,
        })
    }

    /// For people, a line.
    pub fn line(&self) -> String {
        format!(
            "{}, {} cores, {} MiB; Linux {}, KVM: {}, guest kernel {}; huge pages {}; load {}",
            self.cpu,
            self.cores,
            self.memory_mib,
            self.kernel,
            self.kvm,
            self.guest_kernel,
            self.huge_pages,
            self.load
        )
    }
}

fn read(path: &str, find: impl Fn(&str) -> Option<String>) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    find(text.trim_end()).unwrap_or_else(|| "unknown".to_owned())
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files_are_found_by_name() {
        let text = "processor\t: 0\nmodel name\t: A CPU\nMemTotal:       24684544 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A CPU"));
        assert_eq!(field(text, "MemTotal").as_deref(), Some("24684544 kB"));
        assert_eq!(field(text, "Model"), None);
    }
}
