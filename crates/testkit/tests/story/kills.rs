//! kill -9 while a snapshot goes on, and of a program with a pool at work; and a snapshot that is removed under
//! somebody's hands.

use crate::snapshots::{count, counter, remove_all, snapshots};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use testkit::{Home, Processes, files, target};

/// One next number of a VM that counts.
const NEXT: [&str; 3] = ["sh", "-c", "echo next > /in; cat /out"];

fn kill_all(processes: &[Pid]) {
    for process in processes {
        // It may just have ended.
        let _ = kill_process(*process, Signal::KILL);
    }
}

/// A snapshot of a VM that has counted to 1.
fn snapshot(home: &Home) {
    counter(home, "v1");
    assert_eq!(count(home, "v1"), 1);
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
}

fn going_on(home: &Home) -> testkit::Cli {
    home.cli([&["run", "--rm", "--snapshot", "s1"][..], &NEXT].concat())
}

#[test]
fn whoever_is_killed_while_a_snapshot_goes_on_leaves_nothing_and_the_next_one_goes_on() {
    let home = Home::new();
    snapshot(&home);
    remove_all(&home);
    for (round, milliseconds) in (0..=48).step_by(4).enumerate() {
        let run = going_on(&home).start();
        // Wherever it is by then; it may have finished.
        run.ends_within(Duration::from_millis(milliseconds));
        if round % 2 == 0 {
            kill_all(&Processes::of_this_test().vmms());
        } else {
            run.signal(Signal::KILL);
        }
        run.finish();
        home.assert_nothing_runs();
        // Who looks also sweeps the record of a supervisor that was killed.
        assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
        home.assert_nothing_left();
    }
    assert_eq!(going_on(&home).output().ok(), "2\n");
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
    home.run(["snapshot", "verify", "s1"]).ok();
}

#[test]
fn a_snapshot_that_is_removed_while_it_is_started_goes_on_or_is_not_there() {
    let home = Home::new();
    counter(&home, "v1");
    for milliseconds in (0..=24).step_by(3) {
        home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
        let run = going_on(&home).start();
        run.ends_within(Duration::from_millis(milliseconds));
        let removed = home.run(["snapshot", "rm", "s1"]);
        let out = run.finish();
        match out.code {
            0 => assert_eq!(out.text(), "1\n"),
            code => assert!(
                code == 125 && out.stderr.contains("s1"),
                "{code}: {}",
                out.stderr
            ),
        }
        if removed.code != 0 {
            home.run(["snapshot", "rm", "s1"]).ok();
        }
        assert!(snapshots(&home).is_empty());
    }
    assert_eq!(count(&home, "v1"), 1);
    remove_all(&home);
}

/// A program that embeds the library and takes, uses and gives back VMs of a pool, again and again.
fn program_with_a_pool(home: &Home) -> Child {
    let program = target::programs().join("examples/pool_cycle");
    Command::new(program)
        .args([&home.image("busybox"), "100000", "2", "4"])
        .env("SUPERMACHINE_HOME", home.path())
        .env("SUPERMACHINE_LIBEXEC", target::programs())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_program_that_is_killed_with_a_pool_at_work_leaves_no_vm_no_process_and_no_file() {
    let home = Home::new();
    // The first makes the template, the second finds out which pages a start writes.
    for _ in 0..2 {
        home.run(["run", "--rm", &home.image("busybox"), "true"])
            .ok();
    }
    let before = files::list(home.path());
    for milliseconds in (0..60).step_by(10) {
        let mut program = program_with_a_pool(&home);
        while Processes::of_this_test().vmms().len() < 2 {
            assert_eq!(program.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        let pid = Pid::from_child(&program);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let wherever_it_is_by_then = Timespec {
            tv_sec: 0,
            tv_nsec: milliseconds * 1_000_000,
        };
        let mut ends = [PollFd::new(&pidfd, PollFlags::IN)];
        assert_eq!(poll(&mut ends, Some(&wherever_it_is_by_then)).unwrap(), 0);
        program.kill().unwrap();
        program.wait().unwrap();
        home.assert_nothing_runs();
        home.run(["prune"]).ok();
        assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
        home.assert_nothing_left();
        assert_eq!(files::list(home.path()), before);
    }
    home.run(["run", "--rm", &home.image("busybox"), "true"])
        .ok();
}

/// Copies may come up after whoever wanted them was killed, or go on their own.
fn remove_whatever_comes_up(home: &Home) {
    loop {
        let names = home.run(["ps", "-a", "-q"]);
        let names: Vec<_> = names.ok().lines().map(str::to_owned).collect();
        if names.is_empty() && Processes::of_this_test().supervisors().is_empty() {
            break;
        }
        let words = ["rm", "-f"].map(str::to_owned);
        home.run(words.into_iter().chain(names));
    }
    home.assert_nothing_left();
}

#[test]
fn whoever_is_killed_while_a_vm_is_forked_leaves_whole_copies_or_none() {
    let home = Home::new();
    for (round, milliseconds) in (0..=60).step_by(4).enumerate() {
        counter(&home, "v1");
        let fork = home.cli(["fork", "v1", "-n", "3"]).start();
        fork.ends_within(Duration::from_millis(milliseconds));
        match round % 3 {
            0 => {
                fork.signal(Signal::KILL);
                fork.finish();
                assert_eq!(count(&home, "v1"), 1);
                each_copy_works_or_is_gone(&home);
            }
            1 => {
                kill_all(&Processes::of_this_test().vmms());
                fork.finish();
            }
            _ => {
                kill_all(&Processes::of_this_test().supervisors());
                fork.finish();
            }
        }
        remove_whatever_comes_up(&home);
    }
}

/// Those that were told to go on have supervisors of their own. One whose start nobody waited for may end.
fn each_copy_works_or_is_gone(home: &Home) {
    for name in home.run(["ps", "-q"]).ok().lines() {
        let out = home.run(["exec", name, "true"]);
        let gone = out.stderr.contains("not running") || out.stderr.contains(name);
        assert!(out.code == 0 || gone, "{}", out.stderr);
    }
}
