//! Warm images through the library.

use crate::{idle_vm, image, runtime};
use std::time::Duration;
use supermachine::{Error, ExitStatus, Ready, ReadyError, VmConfig};
use testkit::Home;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn an_image_is_warmed_and_its_snapshot_starts_where_the_workload_was_ready() {
    let home = Home::new();
    let script = "mkdir /app; echo ready > /app/up; sleep 1000";
    let config = VmConfig::new().entrypoint(["sh", "-c", script]);
    let ready = Ready::File("/app/up".into());
    let snapshot = image(&home, "busybox")
        .warm(&config, &ready, LIMIT, "s1")
        .unwrap();
    home.assert_nothing_left();
    let vm = snapshot.start(&VmConfig::new()).unwrap();
    assert!(vm.exec(["test", "-e", "/app/up"]).unwrap().success());
    // What came true stays true in a copy, and can be asked for there.
    vm.wait_ready(&ready, LIMIT).unwrap();
    drop(vm);
    runtime(&home).remove_snapshot("s1").unwrap();
    home.assert_nothing_left();
}

#[test]
fn what_keeps_a_workload_from_being_ready_is_a_typed_error() {
    let home = Home::new();
    let busybox = image(&home, "busybox");
    let config = VmConfig::new().entrypoint(["sh", "-c", "echo bye; exit 7"]);
    let error = busybox
        .warm(&config, &Ready::Listen(80), LIMIT, "s1")
        .unwrap_err();
    assert_eq!(error.output(), Some("bye"));
    assert!(
        matches!(&error, Error::Ready(ReadyError::Ended { exit, .. }) if exit.status == ExitStatus::Code(7)),
        "{error:?}"
    );
    let late = idle_vm(&home).wait_ready(&Ready::Listen(80), LIMIT);
    assert!(matches!(late, Err(Error::NoWorkload)), "{late:?}");
    assert!(matches!(
        busybox.warm(&config, &Ready::Listen(80), LIMIT, "../s1"),
        Err(Error::Config(_))
    ));
    assert_eq!(runtime(&home).snapshots().unwrap(), []);
    home.assert_nothing_left();
}
