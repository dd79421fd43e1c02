//! The machine around a workload, as the guest is told.

use crate::config::{OnFailure, VmConfig};
use crate::error::ConfigError;
use crate::home::random;
use crate::network::Wiring;
use crate::storage::{self, StorageError};
use crate::time::unix_nanos;
use proto::session::{Identity, Machine, Upper};
use std::time::SystemTime;

/// Docker's size of /dev/shm.
const SHM_SIZE: u64 = 64 << 20;

/// The kernel's limit for a host name.
const MAX_HOSTNAME: usize = 64;

pub(super) fn describe(
    config: &VmConfig,
    hostname: &str,
    user: &[u8],
) -> Result<Machine, StorageError> {
    let storage = &config.storage;
    Ok(Machine {
        hostname: hostname.as_bytes().to_vec(),
        upper: Upper::Disk,
        resolv_conf: storage::resolv_conf(&storage.dns, &[]),
        hosts: storage::hosts(storage),
        shm_size: storage.shm_size.unwrap_or(SHM_SIZE),
        ipv6: false,
        network: None,
        keep_on_failure: config.on_failure == OnFailure::Keep,
        extras: storage::extras(storage, user)?,
        memory_limit: Some(config.memory.bytes()),
        pids_limit: config.pids_limit,
        cpu_limit: config.cpu_limit,
        wall_clock_ns: 0,
        entropy: Vec::new(),
    })
}

/// Puts the clock and fresh randomness in, as late as possible.
pub(super) fn stamp(machine: &mut Machine) {
    machine.entropy = random::<256>().to_vec();
    machine.wall_clock_ns = unix_nanos(SystemTime::now());
}

/// A new life for a machine that was copied, with the clock and randomness of this moment.
pub(super) fn identity(hostname: &str) -> Identity {
    Identity {
        generation: random(),
        hostname: hostname.as_bytes().to_vec(),
        wall_clock_ns: unix_nanos(SystemTime::now()),
        entropy: random::<256>().to_vec(),
        network: None,
    }
}

/// Gives the machine its place on the network.
pub(super) fn connect(machine: &mut Machine, wiring: &Wiring) {
    machine.ipv6 = wiring.guest.v6.is_some();
    machine.network = Some(wiring.guest.clone());
    machine.resolv_conf = Some(wiring.resolv_conf.clone());
}

/// The same life with the clock and randomness of this moment.
pub(super) fn refresh(identity: &Identity) -> Identity {
    Identity {
        wall_clock_ns: unix_nanos(SystemTime::now()),
        entropy: random::<256>().to_vec(),
        ..identity.clone()
    }
}

/// Host names as the kernel and /etc/hosts can hold them.
pub(super) fn check_hostname(hostname: &str) -> Result<&str, ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let fits = (1..=MAX_HOSTNAME).contains(&hostname.len());
    if fits && hostname.bytes().all(allowed) && !hostname.starts_with(['-', '.']) {
        Ok(hostname)
    } else {
        Err(ConfigError::Hostname(hostname.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_that_would_break_etc_hosts_are_refused() {
        for hostname in ["", "a b", "a\nb", "-a", ".a", "ä", &"x".repeat(65)] {
            assert_eq!(
                check_hostname(hostname),
                Err(ConfigError::Hostname(hostname.to_owned()))
            );
        }
        for hostname in ["a", "web-1.example.org", &"x".repeat(64)] {
            assert_eq!(check_hostname(hostname), Ok(hostname));
        }
    }

    #[test]
    fn every_start_gets_its_own_randomness_and_the_current_time() {
        let mut machine = describe(&VmConfig::new(), "h", b"").unwrap();
        stamp(&mut machine);
        let (entropy, before) = (machine.entropy.clone(), machine.wall_clock_ns);
        stamp(&mut machine);
        assert_eq!(entropy.len(), 256);
        assert_ne!(machine.entropy, entropy);
        assert!(machine.wall_clock_ns >= before && before > 1_600_000_000_000_000_000);
    }
}
