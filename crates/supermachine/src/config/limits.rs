//! What the processes of a VM may have, beside memory and CPUs.

use super::VmConfig;
use crate::error::ConfigError;
use proto::session::{Resource, ResourceLimit};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;

/// The limit of one resource, as setrlimit(2) has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit(pub(crate) ResourceLimit);

/// The words of Docker's `--ulimit`, and what they mean.
const NAMES: [(&str, Resource); 15] = [
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::FileSize),
    ("locks", Resource::Locks),
    ("memlock", Resource::LockedMemory),
    ("msgqueue", Resource::MessageQueues),
    ("nice", Resource::Nice),
    ("nofile", Resource::Files),
    ("nproc", Resource::Processes),
    ("rss", Resource::ResidentMemory),
    ("rtprio", Resource::RealTimePriority),
    ("rttime", Resource::RealTimeTimeout),
    ("sigpending", Resource::PendingSignals),
    ("stack", Resource::Stack),
];

impl std::str::FromStr for Ulimit {
    type Err = ConfigError;

    /// `nofile=1024:2048`, `core=0`, `memlock=-1`: what comes first counts, then what it may be raised to.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Ulimit(text.to_owned());
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let (_, resource) = known.ok_or_else(wrong)?;
        let value = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            text => text.parse::<u64>().map_err(|_| wrong()),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let limit = ResourceLimit {
            resource: *resource,
            soft: value(soft)?,
            hard: value(hard)?,
        };
        if limit.soft > limit.hard {
            return Err(wrong());
        }
        Ok(Self(limit))
    }
}

impl VmConfig {
    /// Sets a limit of the workload and of every exec.
    pub fn ulimit(mut self, limit: Ulimit) -> Self {
        let same = |known: &ResourceLimit| known.resource == limit.0.resource;
        self.ulimits.retain(|known| !same(known));
        self.ulimits.push(limit.0);
        self
    }

    /// Gives the workload and every exec a further group, by name or id.
    pub fn group(mut self, group: impl AsRef<OsStr>) -> Self {
        self.groups.push(group.as_ref().into());
        self
    }

    /// How many processes and threads there may be.
    pub const fn pids_limit(mut self, most: u64) -> Self {
        self.pids_limit = Some(most);
        self
    }

    /// How much CPU time the workload may have, in thousandths of one CPU; without, all of its virtual CPUs.
    pub const fn cpu_limit(mut self, thousandths: u32) -> Self {
        self.cpu_limit = Some(thousandths);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        for (text, resource, soft, hard) in [
            ("nofile=1024:2048", Resource::Files, 1024, 2048),
            ("core=0", Resource::Core, 0, 0),
            ("memlock=-1", Resource::LockedMemory, u64::MAX, u64::MAX),
            ("stack=1:unlimited", Resource::Stack, 1, u64::MAX),
        ] {
            let limit = ResourceLimit {
                resource,
                soft,
                hard,
            };
            assert_eq!(text.parse(), Ok(Ulimit(limit)));
        }
        for text in [
            "nofile",
            "files=1",
            "nofile=x",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=",
        ] {
            assert!(text.parse::<Ulimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn of_a_limit_given_twice_the_last_one_counts() {
        let config = VmConfig::new()
            .ulimit("nofile=1".parse().unwrap())
            .ulimit("core=0".parse().unwrap())
            .ulimit("nofile=2".parse().unwrap());
        assert_eq!(config.ulimits.len(), 2);
        assert_eq!(config.ulimits[1].soft, 2);
    }
}
