//! Points of what a guest promises that are about much at once; each test is named after its point.

use crate::idle_vm;
use std::io::{Read, Write};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use supermachine::{ExecStdin, ExitStatus, Vm};
use testkit::Home;

const CONNECTIONS: usize = 1000;

#[test]
fn guest_10_a_mebibyte_of_environment_arrives_and_a_string_too_long_is_refused() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let value = "v".repeat((64 << 10) - 5);
    let names: Vec<String> = (0..16).map(|number| format!("V{number:02}")).collect();
    let exec = names
        .iter()
        .fold(vm.exec_builder(), |exec, name| exec.env(name, &value));
    let output = exec
        .argv(["sh", "-c", "env | grep ^V | wc -c"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, format!("{}\n", 1 << 20).into_bytes());
    let exec = vm.exec_builder().env("BIG", "v".repeat(128 << 10));
    let error = exec.argv(["true"]).output().unwrap_err();
    assert_eq!(error.exit_code(), 125, "{error}");
    assert!(error.to_string().contains("131071"), "{error}");
}

/// Every one has its own connection, and all of them are open when the first is used.
#[test]
fn guest_20_a_thousand_connections_at_once_carry_their_own_bytes() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let all_are_open = Barrier::new(CONNECTIONS);
    std::thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (vm, all_are_open) = (&vm, &all_are_open);
            scope.spawn(move || {
                let exec = vm.exec_builder().argv(["cat"]).stdin(ExecStdin::Stream);
                let mut child = exec.spawn().unwrap();
                all_are_open.wait();
                let said = format!("connection {number}\n");
                child
                    .stdin
                    .take()
                    .unwrap()
                    .write_all(said.as_bytes())
                    .unwrap();
                let mut heard = String::new();
                child
                    .stdout
                    .take()
                    .unwrap()
                    .read_to_string(&mut heard)
                    .unwrap();
                assert_eq!(heard, said);
                assert_eq!(child.wait().unwrap().status, ExitStatus::Code(0));
            });
        }
    });
    assert_eq!(vm.processes().unwrap().list.len(), 1);
}

#[test]
fn guest_19_memory_that_is_free_inside_goes_back_to_the_host() {
    let home = Home::new();
    let vm = idle_vm(&home);
    const MUCH: u64 = 192 << 20;
    let of_the_host = |vm: &Vm| vm.stats().unwrap().host_memory.expect("our own process");
    let before = of_the_host(&vm);
    let fill = format!("head -c {MUCH} /dev/urandom > /tmp/much");
    assert!(vm.exec(["sh", "-c", &fill]).unwrap().success());
    let full = of_the_host(&vm);
    assert!(full > before + MUCH * 9 / 10, "{before} {full}");
    assert!(vm.exec(["rm", "/tmp/much"]).unwrap().success());
    // The kernel inside collects what is free for some seconds; nobody is told when it has given it back.
    let patience = Instant::now() + Duration::from_secs(60);
    while of_the_host(&vm) > before + MUCH / 4 {
        assert!(
            Instant::now() < patience,
            "{before} {full} {}",
            of_the_host(&vm)
        );
        vm.exec(["usleep", "100000"]).unwrap();
    }
}
