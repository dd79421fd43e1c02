//! Everything a record says, for who looks closely.

use super::SCRATCH;
use super::content::{Record, State};
use super::summary::VmSummary;
use crate::bytes::ByteString;
use crate::config::{RestartPolicy, Retention};
use crate::health::Health;
use crate::network::{NetworkLimits, NetworkMode, Rule};
use crate::signals::Signal;
use crate::time::from_unix_nanos;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is known about a VM in detail. Text that is not UTF-8 is shown as well as it can be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VmDetails {
    /// What lists show.
    pub summary: VmSummary,
    /// When its current or last life began.
    pub started: Option<SystemTime>,
    /// When its last life ended.
    pub finished: Option<SystemTime>,
    /// Process id of its supervisor; of the last one where it has none.
    pub supervisor_pid: u32,
    /// The host name inside.
    pub hostname: String,
    /// The whole environment of the workload, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Whom the workload runs as; empty for root.
    pub user: String,
    /// Where it starts; empty for `/`.
    pub workdir: String,
    /// The signal that asks it to end.
    pub stop_signal: Signal,
    /// How long a stop waits before it kills.
    pub stop_grace: Duration,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// What becomes of it when it has ended.
    pub retention: Retention,
    /// Whether our init is PID 1 of the workload.
    pub init: bool,
    /// What it may reach where no rule says otherwise.
    pub network: NetworkMode,
    /// The rules, the first that matches a destination decides.
    pub egress: Vec<Rule>,
    /// How much may pass its network card in a second.
    pub network_limits: NetworkLimits,
    /// Size of the writable disk in bytes.
    pub disk_size: u64,
    /// The last tests of whether the workload is well.
    pub health: Option<Health>,
    /// The names by which other members of its network find it, beside its own.
    pub network_aliases: Vec<String>,
    /// Its address, while it runs and has a network.
    pub address: Option<Ipv4Addr>,
    /// The directory of its record: log, console, disk.
    pub directory: PathBuf,
    /// The file behind its writable disk.
    pub disk: PathBuf,
}

impl VmDetails {
    pub(crate) fn new(record: &Record, dir: &Path, live: bool) -> Self {
        let lossy = |text: &ByteString| text.lossy();
        let env: Vec<_> = record.defaults.env.iter().map(lossy).collect();
        let hostname = env.iter().find_map(|text| text.strip_prefix("HOSTNAME="));
        let at = |nanos: u64| (nanos > 0).then(|| from_unix_nanos(nanos));
        let finished = match record.state {
            State::Exited { at_ns, .. }
            | State::Stopped { at_ns }
            | State::Failed { at_ns, .. }
            | State::Restarting { at_ns, .. } => at_ns,
            _ => 0,
        };
        Self {
            started: at(record.started_ns),
            finished: at(finished),
            supervisor_pid: record.supervisor_pid,
            hostname: hostname.unwrap_or_default().to_owned(),
            user: record.defaults.user.lossy(),
            workdir: record.defaults.cwd.lossy(),
            stop_signal: record.defaults.stop_signal,
            stop_grace: record.config.stop_grace,
            restart: record.config.restart,
            retention: record.config.retention,
            init: record.config.init,
            egress: record.config.egress.clone(),
            network_limits: record.config.network_limits,
            disk_size: record.config.disk_size,
            health: record.health.clone(),
            network: record.config.network.clone(),
            network_aliases: record.config.network_aliases.clone(),
            address: record.address.filter(|_| live),
            directory: dir.to_owned(),
            disk: dir.join(SCRATCH),
            summary: VmSummary::new(record.clone(), live),
            env,
        }
    }
}
