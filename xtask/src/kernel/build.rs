//! Source to `vmlinux`.

use super::{Inputs, SOURCE_TAR, config};
use crate::command::{self, Run};
use crate::steps::seconds;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Builds into an empty directory and leaves `vmlinux` and `config` there, and nothing else.
pub fn build(inputs: &Inputs, work: &Path) -> Result<()> {
    let flavor = inputs.flavor.name();
    eprintln!(
        "      kernel {flavor}: unpacking the source {}",
        inputs.source_version
    );
    let source = unpack(work)?;
    if let Some(patch) = &inputs.patch {
        eprintln!("      kernel {flavor}: applying {}", patch.display());
        Command::new("patch")
            .current_dir(&source)
            .args(["--strip=1", "--silent", "-i"])
            .arg(patch)
            .checked()?;
    }
    eprintln!("      kernel {flavor}: configuring");
    configure(inputs, &source)?;
    eprintln!("      kernel {flavor}: compiling (about 9 CPU-minutes)");
    compile(flavor, &source)?;
    // Symbols are for debuggers; the kernel keeps its own table for traces, and the PVH note survives.
    Command::new("strip")
        .arg("--strip-all")
        .arg("-o")
        .arg(work.join("vmlinux"))
        .arg(source.join("vmlinux"))
        .checked()?;
    std::fs::copy(source.join(".config"), work.join("config")).context("keep the configuration")?;
    crate::cache::remove_tree(&source)
}

/// What no x86 kernel is built from: a third of the source's files, which only cost time to write and remove.
const NOT_UNPACKED: &[&str] = &[
    "*/arch/[a-wyz]*/*.[chS]",
    "*/arch/[a-wyz]*/*.dts*",
    "*/Documentation/*/*",
    "*/tools/testing/*",
    "*/drivers/gpu/drm/amd/include/*",
];

fn unpack(work: &Path) -> Result<std::path::PathBuf> {
    let source = work.join("source");
    std::fs::create_dir(&source)?;
    let mut tar = Command::new("tar");
    // In other locales [a-z] holds capitals too.
    tar.env("LC_ALL", "C")
        .arg("--extract")
        .arg("--strip-components=1")
        .arg("--use-compress-program=xz -T0");
    tar.args(
        NOT_UNPACKED
            .iter()
            .map(|pattern| format!("--exclude={pattern}")),
    );
    tar.arg("--file")
        .arg(SOURCE_TAR)
        .arg("--directory")
        .arg(&source)
        .checked()?;
    Ok(source)
}

fn configure(inputs: &Inputs, source: &Path) -> Result<()> {
    let log = source.join("configure.log");
    let wanted = inputs.wanted();
    let fragment: String = wanted
        .iter()
        .map(|setting| format!("{}={}\n", setting.name, setting.value))
        .collect();
    std::fs::write(source.join("wanted.config"), fragment)?;
    make(source).arg("tinyconfig").logged(&log)?;
    let mut merge = Command::new("scripts/kconfig/merge_config.sh");
    merge
        .current_dir(source)
        .args(["-m", ".config", "wanted.config"])
        .logged(&log)?;
    make(source).arg("olddefconfig").logged(&log)?;
    let resolved = std::fs::read_to_string(source.join(".config"))?;
    let not_taken = config::not_taken(&wanted, &resolved);
    if !not_taken.is_empty() {
        bail!(
            "the kernel's configuration did not take these options:\n  {}",
            not_taken.join("\n  ")
        );
    }
    Ok(())
}

/// Compiles, saying now and then how far it is.
fn compile(flavor: &str, source: &Path) -> Result<()> {
    const LINES_BETWEEN_REPORTS: usize = 200;
    let started = Instant::now();
    let log = source.join("compile.log");
    let mut command = make(source);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    command.arg(format!("-j{cpus}")).arg("vmlinux");
    let errors = std::fs::File::create(&log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("cannot start make")?;
    let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
    for (count, line) in lines.enumerate() {
        line.context("read the output of make")?;
        if count > 0 && count % LINES_BETWEEN_REPORTS == 0 {
            eprintln!(
                "      kernel {flavor}: {count} of about 1,700 files, {}",
                seconds(started.elapsed())
            );
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{} failed ({status}):\n{}",
            command::shown(&command),
            command::end_of(&log)
        );
    }
    eprintln!(
        "      kernel {flavor}: compiled in {}",
        seconds(started.elapsed())
    );
    Ok(())
}

/// make with everything fixed that would otherwise leak this machine and this moment into the kernel.
fn make(source: &Path) -> Command {
    let mut command = Command::new("make");
    command.current_dir(source);
    command
        .env("KBUILD_BUILD_TIMESTAMP", "1970-01-01")
        .env("KBUILD_BUILD_USER", "supermachine");
    command
        .env("KBUILD_BUILD_HOST", "supermachine")
        .env("KBUILD_BUILD_VERSION", "1");
    // Ours may be set for cargo and would reach the kernel's makefiles.
    command
        .env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("CFLAGS")
        .env_remove("LDFLAGS");
    command
}
