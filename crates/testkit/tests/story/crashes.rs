//! kill -9, in the middle of everything.

use rustix::process::{Signal, kill_process};
use testkit::{Home, Processes, Registry, StallingProxy};

const WORK: [&str; 3] = ["sh", "-c", "echo ready; while true; do sleep 1; done"];

#[test]
fn after_a_killed_command_line_nothing_runs_and_the_next_command_works() {
    let home = Home::new();
    let image = home.image("busybox");
    let mut running = home
        .cli([&["run", "--rm", &image], &WORK[..]].concat())
        .start();
    assert_eq!(running.line(), "ready");
    running.signal(Signal::KILL);
    running.finish();
    home.assert_nothing_runs();
    let next = home.run(["run", "--rm", &image, "echo", "next"]);
    assert_eq!(next.ok(), "next\n");
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
    home.assert_nothing_left();
}

#[test]
fn a_killed_vmm_is_an_error_of_ours_and_leaves_nothing() {
    let home = Home::new();
    let image = home.image("busybox");
    let mut running = home
        .cli([&["run", "--rm", &image], &WORK[..]].concat())
        .start();
    assert_eq!(running.line(), "ready");
    for vmm in Processes::of_this_test().vmms() {
        kill_process(vmm, Signal::KILL).unwrap();
    }
    let out = running.finish();
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("supermachine-vmm"), "{}", out.stderr);
    home.assert_nothing_left();
    assert_eq!(
        home.run(["run", "--rm", &image, "echo", "next"]).ok(),
        "next\n"
    );
}

#[test]
fn a_killed_vmm_of_a_detached_vm_is_seen_by_wait_and_rm_cleans_up() {
    let home = Home::new();
    home.run(
        [
            &["run", "-d", "--name", "job", &home.image("busybox")],
            &WORK[..],
        ]
        .concat(),
    )
    .ok();
    for vmm in Processes::of_this_test().vmms() {
        kill_process(vmm, Signal::KILL).unwrap();
    }
    assert_ne!(home.run(["wait", "job"]).text(), "0\n");
    home.run(["rm", "-f", "job"]).ok();
    home.assert_nothing_left();
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
}

#[test]
fn a_pull_killed_half_way_leaves_a_store_that_verifies_and_the_next_pull_works() {
    let home = Home::new();
    let registry = Registry::start();
    let reference = registry.push("redis");
    let proxy = StallingProxy::start(registry.address(), 20 << 20);
    let stalling = reference.replace(
        &registry.address().to_string(),
        &proxy.address().to_string(),
    );
    let pull = home.cli(["pull", &stalling]).start();
    proxy.wait_until_stalled();
    pull.signal(Signal::KILL);
    pull.finish();
    assert_eq!(home.run(["images", "-q"]).ok(), "");
    home.run(["pull", &reference]).ok();
    assert_eq!(
        home.run(["run", "--rm", &reference, "echo", "whole"]).ok(),
        "whole\n"
    );
    home.run(["prune"]).ok();
    let half_done = testkit::files::list(&home.path().join("tmp"));
    assert!(half_done.is_empty(), "{half_done:?}");
}

#[test]
fn a_supervisor_that_is_asked_to_end_stops_its_vm_with_manners() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "trap 'echo bye; exit 3' TERM; : > /ready; while :; do usleep 10000; done";
    home.run(["run", "-d", "--name", "vm", &image, "sh", "-c", script])
        .ok();
    let ready = "until [ -e /ready ]; do usleep 1000; done";
    home.run(["exec", "vm", "sh", "-c", ready]).ok();
    let [supervisor] = Processes::of_this_test().supervisors()[..] else {
        panic!("there is one VM");
    };
    kill_process(supervisor, Signal::TERM).unwrap();
    assert_eq!(home.run(["wait", "vm"]).ok().trim(), "3");
    assert!(home.run(["logs", "vm"]).text().ends_with("bye\n"));
}
