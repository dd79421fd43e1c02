//! The kernel for hardware KVM, booted in emulation: the only way to run it on any host.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use testkit::target;

#[test]
fn guest_01_the_standard_kernel_reaches_our_init_under_emulation() {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-machine",
        "microvm,accel=tcg",
        "-cpu",
        "max",
        "-m",
        "256",
        "-smp",
        "2",
        "-nodefaults",
        "-no-user-config",
    ]);
    qemu.args([
        "-nographic",
        "-no-reboot",
        "-serial",
        "stdio",
        "-append",
        "console=ttyS0 panic=-1 quiet",
    ]);
    qemu.arg("-kernel")
        .arg(target::asset("kernel-standard"))
        .arg("-initrd")
        .arg(target::asset("initramfs"));
    let mut qemu = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("qemu is installed");
    let mut console = BufReader::new(qemu.stdout.take().expect("standard output is piped"));
    let mut seen = Vec::new();
    let reached = loop {
        let start = seen.len();
        let length = console
            .read_until(b'\n', &mut seen)
            .expect("a pipe can be read");
        if length == 0 {
            break false;
        }
        if String::from_utf8_lossy(&seen[start..]).contains("supermachine: init") {
            break true;
        }
    };
    qemu.kill().expect("qemu can be killed");
    qemu.wait().expect("a child can be waited for");
    assert!(
        reached,
        "the console ended first:\n{}",
        String::from_utf8_lossy(&seen)
    );
}
