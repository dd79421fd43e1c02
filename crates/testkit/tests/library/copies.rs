//! Snapshots and forks through the library.

use crate::{idle_vm, image, runtime, shell};
use std::io::Read;
use supermachine::{
    BootMode, Error, ExitStatus, MainOutput, OnFailure, SavedError, SessionError, Vm, VmConfig,
};
use testkit::{Home, Processes};

fn say(vm: &Vm, script: &str) -> String {
    String::from_utf8(vm.exec(["sh", "-c", script]).unwrap().stdout).unwrap()
}

#[test]
fn guest_18_a_snapshot_goes_on_under_its_own_name_with_its_own_output() {
    let home = Home::new();
    let script = "mkfifo /go; read x < /go; echo went; exit 3";
    let vm = shell(&home, VmConfig::new().name("first"), script);
    say(&vm, "until [ -p /go ]; do usleep 1000; done");
    let snapshot = vm.snapshot("s1").unwrap();
    assert_eq!(snapshot.info().base.as_deref(), Some("template"));
    let config = VmConfig::new().name("second").output(MainOutput::Stream);
    let mut copy = snapshot.start(&config).unwrap();
    let mut stdout = copy.take_stdout().unwrap();
    assert_eq!(say(&copy, "hostname; echo $HOSTNAME").lines().count(), 2);
    // The VM may be gone before this has ended.
    let _ = copy.exec(["sh", "-c", "echo x > /go"]);
    assert_eq!(copy.wait().unwrap().status, ExitStatus::Code(3));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "went\n");
    assert_eq!(say(&vm, "echo first"), "first\n");
    drop((copy, vm));
    assert!(matches!(
        snapshot.start(&VmConfig::new().name("first")).map(drop),
        Ok(())
    ));
    runtime(&home).remove_snapshot("s1").unwrap();
    assert_eq!(runtime(&home).snapshots().unwrap(), []);
    home.assert_nothing_left();
}

#[test]
fn vms_without_a_workload_can_be_copied_too() {
    let home = Home::new();
    let vm = idle_vm(&home);
    say(&vm, "echo kept > /file; echo kept > /dev/shm/file");
    let kids = vm.fork(4).unwrap();
    for kid in &kids {
        assert_eq!(say(kid, "cat /file /dev/shm/file"), "kept\nkept\n");
        assert_ne!(say(kid, "hostname"), say(&vm, "hostname"));
    }
    let snapshot = kids[0].snapshot("kid").unwrap();
    drop(kids);
    let copy = snapshot.start(&VmConfig::new()).unwrap();
    assert_eq!(say(&copy, "cat /file"), "kept\n");
    drop((copy, vm));
    home.assert_nothing_left();
}

/// A table that grows while there are several threads stops its process for 12 ms (`synchronize_rcu`).
#[test]
fn every_vmm_has_room_for_its_descriptors_before_it_has_threads() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let kids = vm.fork(2).unwrap();
    for vm in kids.iter().chain([&vm]) {
        say(vm, "true");
    }
    let vmms = Processes::of_this_test().vmms();
    assert_eq!(vmms.len(), 3);
    for pid in vmms {
        let process = std::path::PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        assert_eq!(size.map(str::trim), Some("512"));
        assert!(std::fs::read_dir(process.join("fd")).unwrap().count() > 50);
    }
}

#[test]
fn a_vm_that_booted_its_own_kernel_is_saved_whole() {
    let home = Home::new();
    let config = VmConfig::new().boot(BootMode::Cold);
    let vm = image(&home, "busybox").start(&config).unwrap();
    let snapshot = vm.snapshot("whole").unwrap();
    assert_eq!(snapshot.info().base, None);
    drop(vm);
    let copy = snapshot.start(&VmConfig::new()).unwrap();
    assert_eq!(say(&copy, "echo alive"), "alive\n");
    let forked = copy.fork(1).unwrap();
    assert_eq!(say(&forked[0], "echo alive"), "alive\n");
}

#[test]
fn guest_18_while_a_vm_is_copied_its_execs_lose_nothing() {
    let home = Home::new();
    let vm = idle_vm(&home);
    std::thread::scope(|scope| {
        let long = scope.spawn(|| {
            say(
                &vm,
                "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done",
            )
        });
        vm.snapshot("busy").unwrap();
        drop(vm.fork(2).unwrap());
        let expected: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(long.join().unwrap(), expected);
    });
}

#[test]
fn guest_15_a_kept_vm_tells_why_it_did_not_start() {
    let home = Home::new();
    let config = VmConfig::new()
        .entrypoint(["/no/such/program"])
        .on_failure(OnFailure::Keep);
    let vm = image(&home, "busybox").start(&config).unwrap();
    let told = vm.wait().unwrap_err();
    assert_eq!(told.exit_code(), 127);
    assert!(
        matches!(&told, Error::Shared(error) if matches!(**error, Error::Session(SessionError::Guest(_))))
    );
    assert_eq!(say(&vm, "echo inside"), "inside\n");
    vm.kill().unwrap();
}

#[test]
fn a_snapshot_that_is_not_there_is_an_error_with_its_name() {
    let home = Home::new();
    let error = runtime(&home).snapshot("nope").unwrap_err();
    assert!(matches!(error, Error::Saved(SavedError::NotFound(name)) if name == "nope"));
}
