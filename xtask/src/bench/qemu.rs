//! QEMU's `microvm` machine with our kernel and initramfs.

use super::cmdline;
use super::console::{Console, Deadline};
use super::programs::Programs;
use crate::command::Run;
use anyhow::{Context, Result};
use proto::guest::FIRST_LINE;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// QEMU would also set an MSR that says how the CPU is built, and gives up where KVM does not know it.
const CPU: &str = "host,-arch-capabilities";
const PROGRAM: &str = "qemu-system-x86_64";

/// With its version.
pub fn name() -> Result<String> {
    let text = Command::new(PROGRAM).arg("--version").text()?;
    let version = text
        .split_whitespace()
        .nth(3)
        .unwrap_or("of unknown version");
    Ok(format!("qemu {version} microvm"))
}

/// Boots, measures from just before the process was started until the first line of PID 1, and ends it.
pub fn boot(programs: &Programs, memory_mib: u32) -> Result<Duration> {
    let started = Instant::now();
    let (reader, writer) = std::io::pipe()?;
    let mut process = Command::new(PROGRAM)
        .args([
            "-M",
            "microvm,accel=kvm,x-option-roms=off,rtc=off,isa-serial=on",
        ])
        .args(["-cpu", CPU, "-smp", "1", "-m", &memory_mib.to_string()])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(programs.kernel())
        .arg("-initrd")
        .arg(programs.initramfs())
        .args(["-append", &cmdline::base()])
        .stdin(Stdio::null())
        .stderr(writer.try_clone()?)
        .stdout(writer)
        .spawn()
        .context("start QEMU")?;
    let seen = Console::new(reader).wait_for(FIRST_LINE, Deadline::start());
    drop(process.kill());
    drop(process.wait());
    Ok(seen? - started)
}
