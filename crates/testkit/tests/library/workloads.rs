//! The VM's main process.

use crate::{image, runtime, shell};
use std::io::{Read, Write};
use std::time::Duration;
use supermachine::{
    Error, ExitStatus, MainOutput, MainStdin, Memory, Retention, Signal, Vm, VmConfig, VmStatus,
};
use testkit::Home;

#[test]
fn a_workload_has_streams_a_log_and_an_exit() {
    let home = Home::new();
    let config = VmConfig::new()
        .stdin(MainStdin::Stream)
        .output(MainOutput::Stream)
        .retention(Retention::Keep)
        .name("echoes");
    let mut vm = shell(&home, config, "cat; echo problem >&2; exit 3");
    vm.take_stdin().unwrap().write_all(b"hello\n").unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    vm.take_stdout().unwrap().read_to_string(&mut out).unwrap();
    vm.take_stderr().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("hello\n", "problem\n"));
    assert_eq!(vm.wait().unwrap().status, ExitStatus::Code(3));
    vm.close().unwrap();

    let entries: Vec<_> = runtime(&home)
        .logs("echoes")
        .unwrap()
        .map(|entry| entry.unwrap().data)
        .collect();
    assert_eq!(entries.concat(), b"hello\nproblem\n");
    let summary = runtime(&home).vm_summary("echoes").unwrap();
    assert!(
        matches!(summary.status, VmStatus::Exited { exit, .. } if exit.status == ExitStatus::Code(3))
    );
    runtime(&home).remove_vm("echoes").unwrap();
    assert_eq!(runtime(&home).vms().unwrap(), []);
}

#[test]
fn a_missing_program_is_127_and_leaves_nothing() {
    let home = Home::new();
    let error = image(&home, "busybox")
        .start(&VmConfig::new().entrypoint(["/no/such"]))
        .unwrap_err();
    assert_eq!(error.exit_code(), 127);
    assert!(error.to_string().contains("/no/such"), "{error}");
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}

#[test]
fn output_that_nobody_takes_is_logged_and_never_holds_the_workload_back() {
    let home = Home::new();
    let config = VmConfig::new()
        .output(MainOutput::Stream)
        .retention(Retention::Keep)
        .name("chatty");
    let mut vm = shell(&home, config, "dd if=/dev/zero bs=1M count=4 2>/dev/null");
    drop((vm.take_stdout(), vm.take_stderr()));
    assert_eq!(vm.wait().unwrap().status, ExitStatus::Code(0));
    let logged: usize = vm
        .logs()
        .unwrap()
        .map(|entry| entry.unwrap().data.len())
        .sum();
    assert_eq!(logged, 4 << 20);
}

#[test]
fn guest_13_stop_sends_the_stop_signal_and_kills_after_the_grace_period() {
    let home = Home::new();
    let config = VmConfig::new().retention(Retention::Keep);
    let polite = ready_shell(&home, config, "trap 'exit 5' TERM");
    polite.stop().unwrap();
    assert_eq!(polite.wait().unwrap().status, ExitStatus::Code(5));
    let config = VmConfig::new().stop_grace(Duration::from_millis(300));
    let stubborn = ready_shell(&home, config, "trap '' TERM");
    stubborn.stop().unwrap();
    assert_eq!(stubborn.wait().unwrap().status, ExitStatus::Signal(9));
    drop((polite, stubborn));
    home.assert_nothing_left();
}

/// A workload that has set its trap and waits.
fn ready_shell(home: &Home, config: VmConfig, trap: &str) -> Vm {
    let script = format!("{trap}; echo ready; while :; do sleep 0.1; done");
    let mut vm = shell(home, config.output(MainOutput::Stream), &script);
    let mut ready = [0; 6];
    vm.take_stdout().unwrap().read_exact(&mut ready).unwrap();
    vm
}

#[test]
fn signals_reach_the_workload() {
    let home = Home::new();
    let vm = ready_shell(&home, VmConfig::new(), "trap 'exit 9' USR1");
    vm.signal("USR1".parse::<Signal>().unwrap()).unwrap();
    assert_eq!(vm.wait().unwrap().status, ExitStatus::Code(9));
}

#[test]
fn a_timeout_ends_the_workload_and_the_vm() {
    let home = Home::new();
    let vm = shell(
        &home,
        VmConfig::new().timeout(Duration::from_millis(300)),
        "sleep 1000",
    );
    assert!(vm.wait().unwrap().timed_out);
    vm.close().unwrap();
    home.assert_nothing_left();
}

#[test]
fn the_machine_is_as_it_was_asked_for() {
    let home = Home::new();
    let memory = Memory::from_bytes(200 << 20).unwrap();
    let config = VmConfig::new()
        .hostname("box-1")
        .memory(memory)
        .disk_size(1 << 30);
    let vm = image(&home, "busybox").start(&config).unwrap();
    let read =
        |script: &str| String::from_utf8(vm.exec(["sh", "-c", script]).unwrap().stdout).unwrap();
    assert_eq!(
        read("hostname; echo $HOSTNAME; cat /etc/hostname"),
        "box-1\nbox-1\nbox-1\n"
    );
    let limit =
        read("cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/*/memory.max");
    assert_eq!(limit.trim(), (200 << 20).to_string());
    let total: u64 = read("awk '/MemTotal/ {print $2}' /proc/meminfo")
        .trim()
        .parse()
        .unwrap();
    assert!((180 << 10..=256 << 10).contains(&total), "{total} KiB");
    let disk: u64 = read("df -k / | awk 'NR==2 {print $2}'")
        .trim()
        .parse()
        .unwrap();
    assert!((900 << 10..=1 << 20).contains(&disk), "{disk} KiB");
}

#[test]
fn two_cpus_are_given_or_refused_but_never_ignored() {
    let home = Home::new();
    match image(&home, "busybox").start(&VmConfig::new().cpus(2)) {
        Ok(vm) => assert_eq!(vm.exec(["nproc"]).unwrap().stdout, b"2\n"),
        Err(error) => assert!(
            matches!(&error, Error::Vmm(_)) && error.to_string().contains("CPU"),
            "{error}"
        ),
    }
}
