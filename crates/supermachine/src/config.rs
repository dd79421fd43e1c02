//! Everything about a VM that is not in its image.

mod health;
mod life;
mod limits;
mod log;

pub(crate) use health::{HealthConfig, HealthWish};
pub(crate) use life::BackOff;
pub use life::RestartPolicy;
pub use limits::Ulimit;
pub use log::LogLimits;

use crate::bytes::ByteString;
use crate::error::ConfigError;
use crate::network::{NetworkLimits, NetworkMode, PortMapping, Rule};
use crate::signals::Signal;
use crate::storage::Storage;
use proto::session::{ResourceLimit, WindowSize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// Everything about a VM that is not in its image. [`VmConfig::new`] is a VM of 512 MiB and one CPU that runs
/// nothing until it is asked to, and whose traces are removed with its handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmConfig {
    pub(crate) name: Option<String>,
    pub(crate) memory: Memory,
    pub(crate) cpus: u8,
    pub(crate) disk_size: u64,
    pub(crate) hostname: Option<String>,
    pub(crate) env: Vec<ByteString>,
    pub(crate) user: Option<ByteString>,
    pub(crate) workdir: Option<ByteString>,
    pub(crate) workload: Workload,
    pub(crate) init: bool,
    pub(crate) stdin: MainStdin,
    pub(crate) output: MainOutput,
    pub(crate) stop_signal: Option<Signal>,
    pub(crate) stop_grace: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) start_deadline: Duration,
    pub(crate) retention: Retention,
    #[serde(default)]
    pub(crate) tty: Option<WindowSize>,
    #[serde(default)]
    pub(crate) boot: BootMode,
    #[serde(default)]
    pub(crate) on_failure: OnFailure,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) restart: RestartPolicy,
    #[serde(default)]
    pub(crate) health: HealthWish,
    #[serde(default)]
    pub(crate) log: LogLimits,
    pub(crate) storage: Storage,
    #[serde(default)]
    pub(crate) ulimits: Vec<ResourceLimit>,
    #[serde(default)]
    pub(crate) groups: Vec<ByteString>,
    #[serde(default)]
    pub(crate) pids_limit: Option<u64>,
    /// Thousandths of a CPU.
    #[serde(default)]
    pub(crate) cpu_limit: Option<u32>,
    pub(crate) network: NetworkMode,
    #[serde(default)]
    pub(crate) network_aliases: Vec<String>,
    #[serde(default)]
    pub(crate) egress: Vec<Rule>,
    #[serde(default)]
    pub(crate) network_limits: NetworkLimits,
    #[serde(default)]
    pub(crate) ports: Vec<PortMapping>,
}

/// How a machine comes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootMode {
    /// From a template: a machine that was booted and saved before it saw any image. Made by the first start.
    #[default]
    Template,
    /// By booting a kernel of its own.
    Cold,
}

/// What becomes of a VM whose workload cannot be started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// It ends, and the start is an error.
    #[default]
    End,
    /// It stays for inspection with [`crate::Vm::exec`] until it is stopped; [`crate::Vm::wait`] gives the error.
    Keep,
}

/// Memory of a VM in bytes, checked and rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Memory(u64);

impl Memory {
    /// What a VM gets unless told otherwise: 512 MiB.
    pub const DEFAULT: Self = Self(512 << 20);

    /// The least that can be asked for: 16 MiB. (The VM itself never has less than 128 MiB.)
    pub const MIN: Self = Self(16 << 20);

    /// The most that can be asked for: 256 GiB.
    pub const MAX: Self = Self(256 << 30);

    /// Memory of this many bytes.
    pub const fn from_bytes(bytes: u64) -> Result<Self, ConfigError> {
        if bytes < Self::MIN.0 || bytes > Self::MAX.0 {
            Err(ConfigError::Memory(bytes))
        } else {
            Ok(Self(bytes))
        }
    }

    /// What was asked: the limit of the workload.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size of the VM's memory in MiB: the next power of two, 128 at least.
    pub const fn shape_mib(self) -> u32 {
        let mib = self.0.div_ceil(1 << 20).next_power_of_two();
        if mib < 128 { 128 } else { mib as u32 }
    }
}

impl TryFrom<u64> for Memory {
    type Error = ConfigError;

    fn try_from(bytes: u64) -> Result<Self, ConfigError> {
        Self::from_bytes(bytes)
    }
}

impl From<Memory> for u64 {
    fn from(memory: Memory) -> Self {
        memory.0
    }
}

/// What runs as the VM's main process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Nothing: the VM stays until it is stopped, and processes are started with [`crate::Vm::exec`].
    None,
    /// The image's command under Docker's rules; the VM ends with it.
    Command(Command),
}

/// Changes to the image's command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Replaces the image's entrypoint, and drops the image's command. `Some` of nothing removes the entrypoint.
    pub(crate) entrypoint: Option<Vec<ByteString>>,
    /// Replaces the image's command (the words after IMAGE) where not empty.
    pub(crate) args: Vec<ByteString>,
}

/// Standard input of the main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MainStdin {
    /// End of file at once.
    Null,
    /// A stream: [`crate::Vm::take_stdin`].
    Stream,
}

/// Where the output of the main process goes besides the VM's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MainOutput {
    /// Nowhere else.
    LogOnly,
    /// To [`crate::Vm::take_stdout`] and [`crate::Vm::take_stderr`] too. A reader that does not read holds its
    /// stream of the workload back; a reader that is dropped does not.
    Stream,
}

/// What becomes of a VM's record, log and disk when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retention {
    /// Removed.
    Remove,
    /// Kept for `ps -a`, `logs` and a later start, until removed with [`crate::Runtime::remove_vm`].
    Keep,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl VmConfig {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            name: None,
            memory: Memory::DEFAULT,
            cpus: 1,
            disk_size: 10 << 30,
            hostname: None,
            env: Vec::new(),
            user: None,
            workdir: None,
            workload: Workload::None,
            init: true,
            stdin: MainStdin::Null,
            output: MainOutput::LogOnly,
            stop_signal: None,
            stop_grace: Duration::from_secs(10),
            timeout: None,
            start_deadline: Duration::from_secs(60),
            retention: Retention::Remove,
            tty: None,
            boot: BootMode::Template,
            on_failure: OnFailure::End,
            labels: BTreeMap::new(),
            restart: RestartPolicy::No,
            health: HealthWish::UNCHANGED,
            log: LogLimits::DEFAULT,
            storage: Storage::new(),
            ulimits: Vec::new(),
            groups: Vec::new(),
            pids_limit: None,
            cpu_limit: None,
            network: NetworkMode::Public,
            network_aliases: Vec::new(),
            egress: Vec::new(),
            network_limits: NetworkLimits {
                up: None,
                down: None,
                packets: None,
            },
            ports: Vec::new(),
        }
    }

    /// The VM's name; one is made up otherwise. Letters, digits, `_`, `.` and `-`, as Docker has it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Memory of the workload. The VM has the next power of two.
    pub const fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Virtual CPUs, 1 by default. More than one needs hardware virtualization.
    pub const fn cpus(mut self, cpus: u8) -> Self {
        self.cpus = cpus;
        self
    }

    /// Size of the writable disk in bytes, 10 GiB by default. It takes up what is written to it.
    pub const fn disk_size(mut self, bytes: u64) -> Self {
        self.disk_size = bytes;
        self
    }

    /// The host name inside; the VM's short id otherwise.
    pub fn hostname(mut self, hostname: impl Into<String>) -> Self {
        self.hostname = Some(hostname.into());
        self
    }

    /// Sets a variable on top of the image's environment, for the workload and every exec.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push(variable(key.as_ref(), value.as_ref()));
        self
    }

    /// Takes a variable of the image's out of the environment.
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.push(key.as_ref().into());
        self
    }

    /// Runs as this user instead of the image's: `user`, `uid`, `user:group`, `uid:gid` and mixtures.
    pub fn user(mut self, user: impl AsRef<OsStr>) -> Self {
        self.user = Some(user.as_ref().into());
        self
    }

    /// Starts in this directory instead of the image's; it is made where missing.
    pub fn workdir(mut self, dir: impl AsRef<OsStr>) -> Self {
        self.workdir = Some(dir.as_ref().into());
        self
    }

    /// Runs the image's own entrypoint and command as the VM's main process.
    pub fn run_image(mut self) -> Self {
        self.command();
        self
    }

    /// Runs the image with these words in place of its command (its entrypoint stays).
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command().args = byte_strings(words);
        self
    }

    /// Runs the image with these words in place of its entrypoint; the image's command is dropped too.
    pub fn entrypoint<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command().entrypoint = Some(byte_strings(words));
        self
    }

    fn command(&mut self) -> &mut Command {
        if self.workload == Workload::None {
            self.workload = Workload::Command(Command::default());
        }
        match &mut self.workload {
            Workload::Command(command) => command,
            Workload::None => unreachable!("it was replaced above"),
        }
    }

    /// Makes the workload PID 1 of its PID namespace, instead of a child of our init (Docker's `--init=false`).
    pub const fn without_init(mut self) -> Self {
        self.init = false;
        self
    }

    /// Standard input of the main process.
    pub const fn stdin(mut self, stdin: MainStdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Runs the main process in a terminal of this size instead of at the end of pipes.
    pub const fn tty(mut self, size: WindowSize) -> Self {
        self.tty = Some(size);
        self
    }

    /// Where the output of the main process goes besides the log.
    pub const fn output(mut self, output: MainOutput) -> Self {
        self.output = output;
        self
    }

    /// The signal that asks the workload to end; the image's otherwise, else TERM.
    pub const fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = Some(signal);
        self
    }

    /// How long a stop waits before it kills, 10 s by default.
    pub const fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Ends the workload after this long; its [`crate::Exit::timed_out`] says so.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long the start may take, 60 s by default.
    pub const fn start_deadline(mut self, limit: Duration) -> Self {
        self.start_deadline = limit;
        self
    }

    /// How the machine comes up.
    pub const fn boot(mut self, mode: BootMode) -> Self {
        self.boot = mode;
        self
    }

    /// Whether a VM of this configuration starts from a template.
    pub fn boots_from_template(&self) -> bool {
        self.boot == BootMode::Template
    }

    /// What becomes of the VM when its workload cannot be started.
    pub const fn on_failure(mut self, what: OnFailure) -> Self {
        self.on_failure = what;
        self
    }

    /// What the VM may reach, public addresses by default.
    pub fn network(mut self, mode: NetworkMode) -> Self {
        self.network = mode;
        self
    }

    /// What the VM may reach.
    pub const fn network_mode(&self) -> &NetworkMode {
        &self.network
    }

    /// Adds names by which other members of a network with a name find the VM, beside its own.
    pub fn network_alias(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.network_aliases.extend(names);
        self
    }

    /// Adds rules in front of what the mode says; the first one that matches a destination decides.
    pub fn egress(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.egress.extend(rules);
        self
    }

    /// How much may pass the network card in a second: what is more waits, and slows down whoever sends it.
    pub const fn network_limits(mut self, limits: NetworkLimits) -> Self {
        self.network_limits = limits;
        self
    }

    /// Adds ports of the host that lead to the VM's.
    pub fn publish(mut self, ports: impl IntoIterator<Item = PortMapping>) -> Self {
        self.ports.extend(ports);
        self
    }

    /// What becomes of the VM's record, log and disk when it has ended.
    pub const fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }
}

pub(crate) fn variable(key: &OsStr, value: &OsStr) -> ByteString {
    ByteString([key.as_bytes(), b"=", value.as_bytes()].concat())
}

pub(crate) fn byte_strings<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Vec<ByteString> {
    words.into_iter().map(|word| word.as_ref().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_rounded_up_to_a_shape_and_remembers_what_was_asked() {
        for (asked_mib, shape_mib) in [
            (16, 128),
            (128, 128),
            (129, 256),
            (512, 512),
            (700, 1024),
            (262_144, 262_144),
        ] {
            let memory = Memory::from_bytes(asked_mib << 20).unwrap();
            assert_eq!(
                (memory.bytes(), memory.shape_mib()),
                (asked_mib << 20, shape_mib)
            );
        }
        assert_eq!(
            Memory::from_bytes((128 << 20) + 1).unwrap().shape_mib(),
            256
        );
    }

    #[test]
    fn memory_out_of_range_is_refused() {
        for bytes in [0, 1, (16 << 20) - 1, (256 << 30) + 1, u64::MAX] {
            assert_eq!(Memory::from_bytes(bytes), Err(ConfigError::Memory(bytes)));
        }
    }

    #[test]
    fn a_config_survives_the_way_to_a_detached_supervisor() {
        let config = VmConfig::new()
            .name("web")
            .env("A", "b\nc")
            .entrypoint(["/bin/sh", "-c"])
            .args(["echo \"hi\""])
            .user("nobody:0")
            .timeout(Duration::from_millis(1500));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<VmConfig>(&json).unwrap(), config);
    }
}
