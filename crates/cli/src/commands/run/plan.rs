//! The words of `run`, resolved.

use super::{life, limits};
use crate::args::{self, Refusal};
use crate::commands::image::Wanted;
use crate::commands::process::refuse;
use crate::commands::run::storage;
use crate::commands::tty::{self, Tty};
use crate::environment::Change;
use crate::{durations, environment, sizes};
use anyhow::Context;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use supermachine::images::PullPolicy;
use supermachine::{
    BootMode, MainOutput, MainStdin, Memory, OnFailure, RestartPolicy, Retention, VmConfig,
};

/// Who stays with the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// This process.
    Foreground,
    /// A supervisor of its own.
    Detached,
}

/// Everything `run` needs to know.
#[derive(Debug)]
pub struct Plan {
    pub image: Wanted,
    pub config: VmConfig,
    pub mode: Mode,
    pub cidfile: Option<PathBuf>,
    /// The workload has a terminal, with these keys to leave it.
    pub tty: Option<Tty>,
}

impl Plan {
    pub fn resolve(mut args: args::Run) -> anyhow::Result<Self> {
        let command = args.image_and_command.split_off(1);
        let image = image(&args)?;
        let mode = if args.detach {
            Mode::Detached
        } else {
            Mode::Foreground
        };
        let tty = tty_of(&args)?;
        let cidfile = args.life.cidfile.take();
        let config = life::apply(VmConfig::new(), &args.life)?;
        refuse_conflicts(&args, &config)?;
        let config = limits::apply(config, std::mem::take(&mut args.limits))?;
        let config = command_of(config, &args, command);
        let config = size_of(config, &args)?;
        let config = storage::apply(config, &args.storage)?;
        let config = streams_of(config, &args, mode);
        let config = match &tty {
            Some(tty) => config.tty(tty.size),
            None => config,
        };
        let config = process_of(config, args)?;
        Ok(Self {
            image,
            config,
            mode,
            cidfile,
            tty,
        })
    }
}

/// A restart needs somebody who stays, and something that stays.
fn refuse_conflicts(args: &args::Run, config: &VmConfig) -> Result<(), Refusal> {
    let restarts = config.restart_policy() != RestartPolicy::No;
    if restarts && args.rm {
        let hint = "a VM that is removed cannot be started again";
        return Err(refusal("run: --restart cannot be used with --rm", hint));
    }
    if restarts && !args.detach {
        let hint = "in the foreground this command is what watches over the VM, and it ends with the first end";
        return Err(refusal("run: --restart needs -d", hint));
    }
    Ok(())
}

/// `-t`, as `-i` and `-d` leave it.
pub fn tty_of(args: &args::Run) -> Result<Option<Tty>, Refusal> {
    tty::resolve(&tty::Words {
        interactive: args.interactive,
        tty: args.tty,
        detach: args.detach,
        keys: args.detach_keys.as_deref(),
    })
}

fn refusal(message: &str, hint: &str) -> Refusal {
    Refusal {
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

fn image(args: &args::Run) -> anyhow::Result<Wanted> {
    let word = args
        .image_and_command
        .first()
        .map_or(OsStr::new(""), OsString::as_os_str);
    let policy = match args.source.pull {
        args::PullPolicy::Missing => PullPolicy::Missing,
        args::PullPolicy::Always => PullPolicy::Always,
        args::PullPolicy::Never => PullPolicy::Never,
    };
    let text = word
        .to_str()
        .with_context(|| format!("the image reference {word:?} is not valid UTF-8"))?;
    Wanted::resolve(text, args.source.platform.as_deref(), policy)
}

fn command_of(config: VmConfig, args: &args::Run, command: Vec<OsString>) -> VmConfig {
    let config = config.run_image();
    let config = match &args.workload.entrypoint {
        Some(program) => config.entrypoint([program]),
        None => config,
    };
    if command.is_empty() {
        config
    } else {
        config.args(command)
    }
}

fn size_of(mut config: VmConfig, args: &args::Run) -> anyhow::Result<VmConfig> {
    if let Some(text) = &args.machine.memory {
        let bytes = sizes::parse(text).map_err(|error| refuse("--memory", text, error))?;
        config = config
            .memory(Memory::from_bytes(bytes).map_err(|error| refuse("--memory", text, error))?);
    }
    if let Some(text) = &args.machine.disk_size {
        config = config
            .disk_size(sizes::parse(text).map_err(|error| refuse("--disk-size", text, error))?);
    }
    if let Some(text) = &args.machine.cpus {
        let (count, limit) = limits::cpus(text)?;
        config = config.cpus(count);
        if let Some(thousandths) = limit {
            config = config.cpu_limit(thousandths);
        }
    }
    if let Some(text) = &args.timeout {
        config = config.timeout(
            durations::parse_positive(text).map_err(|error| refuse("--timeout", text, error))?,
        );
    }
    Ok(config)
}

fn streams_of(config: VmConfig, args: &args::Run, mode: Mode) -> VmConfig {
    let stdin = if args.interactive {
        MainStdin::Stream
    } else {
        MainStdin::Null
    };
    let output = if mode == Mode::Foreground {
        MainOutput::Stream
    } else {
        MainOutput::LogOnly
    };
    let retention = if args.rm {
        Retention::Remove
    } else {
        Retention::Keep
    };
    config.stdin(stdin).output(output).retention(retention)
}

fn process_of(mut config: VmConfig, args: args::Run) -> anyhow::Result<VmConfig> {
    config = network::apply(config, &args.network)?;
    for change in environment::gather(&args.workload.env_file, &args.workload.env, &|name| {
        std::env::var_os(name)
    })? {
        config = match change {
            Change::Set(name, value) => config.env(name, value),
            Change::Remove(name) => config.env_remove(name),
        };
    }
    for (value, set) in [
        (
            args.name,
            VmConfig::name as fn(VmConfig, String) -> VmConfig,
        ),
        (args.workload.hostname, VmConfig::hostname),
    ] {
        if let Some(value) = value {
            config = set(config, value);
        }
    }
    // Docker takes an empty user and an empty directory for none.
    let given = |value: Option<OsString>| value.filter(|value| !value.as_bytes().is_empty());
    if let Some(user) = given(args.workload.user) {
        config = config.user(user);
    }
    if let Some(dir) = given(args.workload.workdir) {
        config = config.workdir(dir);
    }
    if args.cold_boot {
        config = config.boot(BootMode::Cold);
    }
    if args.keep_on_failure {
        config = config.on_failure(OnFailure::Keep);
    }
    Ok(if args.init {
        config
    } else {
        config.without_init()
    })
}

pub mod network;
#[cfg(test)]
mod tests;
