//! VMs of other processes, and several at once.

use crate::{image, runtime, shell};
use std::io::Read;
use std::time::Duration;
use supermachine::{
    ClientError, Deadline, Error, ExitStatus, MainOutput, RecordError, Retention, Signal, VmConfig,
};
use testkit::Home;

#[test]
fn a_vm_is_reached_by_name_without_its_handle() {
    let home = Home::new();
    let config = VmConfig::new()
        .output(MainOutput::Stream)
        .name("served")
        .env("A", "1")
        .user("7")
        .retention(Retention::Keep);
    let mut own = shell(
        &home,
        config,
        "trap 'exit 4' HUP; echo ready; while :; do sleep 0.1; done",
    );
    own.take_stdout().unwrap().read_exact(&mut [0; 6]).unwrap();
    let other = runtime(&home).open_vm(&own.id()[..12]).unwrap();
    assert_eq!(other.name(), "served");
    assert_eq!(
        other.exec(["sh", "-c", "echo $A; id -u"]).unwrap().stdout,
        b"1\n7\n"
    );
    let late = other
        .wait_deadline(Deadline::after(Duration::from_millis(50)))
        .unwrap_err();
    assert!(matches!(late, Error::Deadline { .. }), "{late:?}");
    other.signal("HUP".parse::<Signal>().unwrap()).unwrap();
    assert_eq!(other.wait().unwrap().status, ExitStatus::Code(4));
    assert_eq!(
        runtime(&home)
            .wait_vm("served", Deadline::NEVER)
            .unwrap()
            .status,
        ExitStatus::Code(4)
    );
    drop(own);
    assert!(matches!(
        runtime(&home).open_vm("served"),
        Err(Error::Client(ClientError::NotRunning))
    ));
    home.assert_nothing_left();
}

#[test]
fn stop_and_kill_from_outside_return_when_the_vm_is_gone() {
    let home = Home::new();
    let vms = ["a1", "b1"].map(|name| shell(&home, VmConfig::new().name(name), "sleep 1000"));
    runtime(&home)
        .open_vm("a1")
        .unwrap()
        .stop_with(None, Some(Duration::ZERO))
        .unwrap();
    runtime(&home).open_vm("b1").unwrap().kill().unwrap();
    assert_eq!(runtime(&home).vms().unwrap(), []);
    assert!(matches!(vms[1].wait(), Err(Error::Stopped)));
    drop(vms);
    home.assert_nothing_left();
}

#[test]
fn a_name_belongs_to_one_vm_at_a_time() {
    let home = Home::new();
    let first = shell(&home, VmConfig::new().name("only"), "sleep 1000");
    let error = image(&home, "busybox")
        .start(&VmConfig::new().name("only"))
        .unwrap_err();
    assert!(
        matches!(error, Error::Record(RecordError::NameTaken(_))),
        "{error:?}"
    );
    assert!(matches!(
        runtime(&home).remove_vm("only"),
        Err(Error::Record(RecordError::Running(_)))
    ));
    runtime(&home).kill_and_remove_vm("only").unwrap();
    drop(first);
    shell(&home, VmConfig::new().name("only"), "true")
        .wait()
        .unwrap();
}

#[test]
fn eight_vms_start_at_once_in_a_home_of_200_bytes() {
    let home = Home::with_long_path();
    let image = image(&home, "busybox");
    std::thread::scope(|scope| {
        let vms: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| image.start(&VmConfig::new()).unwrap()))
            .collect();
        for (number, vm) in vms.into_iter().enumerate() {
            let vm = vm.join().unwrap();
            let text = number.to_string();
            assert_eq!(
                vm.exec(["echo", &text]).unwrap().stdout,
                format!("{text}\n").into_bytes()
            );
        }
    });
    assert_eq!(runtime(&home).vms().unwrap(), []);
    home.assert_nothing_left();
}

#[test]
fn ending_a_vm_that_has_ended_leaves_the_next_one_alone() {
    let home = Home::new();
    drop(shell(
        &home,
        VmConfig::new().name("zeroth").retention(Retention::Keep),
        "sleep 1000",
    ));
    runtime(&home).remove_vm("zeroth").unwrap();
    let keep = |name: &str| VmConfig::new().name(name).retention(Retention::Keep);
    drop(shell(&home, keep("first"), "true"));
    // In one process the second one's supervisor is likely to listen where the first one's did.
    let second = shell(&home, keep("second"), "sleep 1000");
    runtime(&home).kill_and_remove_vm("first").unwrap();
    assert_eq!(second.exec(["echo", "alive"]).unwrap().stdout, b"alive\n");
}
