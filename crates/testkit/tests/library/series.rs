//! Files for a process, several processes in one round trip, and their end from elsewhere.

use crate::idle_vm;
use std::io::{ErrorKind, Read};
use std::thread;
use std::time::Duration;
use supermachine::{
    Canceler, Error, ExecStdin, ExitStatus, FailureKind, SessionError, Vm, WindowSize,
};
use testkit::Home;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn staged_files_are_there_when_the_process_starts_and_belong_to_its_user() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let large = vec![7; 3 << 20];
    let out = vm
        .exec_builder()
        .stage_file(
            "/tmp/script",
            "#!/bin/sh\nstat -c '%a %u:%g' $0\ncat\n",
            0o700,
        )
        .stage_reader("/tmp/large", &large[..], 0o640)
        .unwrap()
        .user("1000:1001")
        .stdin(ExecStdin::Bytes(b"typed".to_vec()))
        .argv(["/tmp/script"])
        .output()
        .unwrap();
    assert_eq!(text(&out.stdout), "700 1000:1001\ntyped");
    assert_eq!(vm.files().read("/tmp/large").unwrap(), large);

    // One that cannot be written keeps the process from being started.
    let staged = |path: &str| vm.exec_builder().stage_file(path, "x", 0o600);
    let error = staged("/nowhere/x").argv(["touch", "/ran"]).output();
    let Err(Error::Session(SessionError::Guest(failure))) = error else {
        panic!("{error:?}")
    };
    assert!(failure.context.contains("/nowhere/x"), "{failure:?}");
    assert!(vm.files().stat("/ran").is_err());
    let missing = staged("/tmp/x").argv(["/no/such"]).output().unwrap_err();
    assert_eq!(missing.exit_code(), 127);
    let huge = vm
        .exec_builder()
        .stage_file("/tmp/x", vec![0; 5 << 20], 0o600);
    let error = huge.argv(["true"]).output();
    assert!(
        matches!(error, Err(Error::Session(SessionError::RequestTooLong(_)))),
        "{error:?}"
    );
}

#[test]
fn a_chain_has_a_result_for_each_command_and_stops_at_the_first_failure() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let run = |scripts: &[&str]| {
        let commands = scripts.iter().map(|script| ["sh", "-c", script]);
        let chain = vm.exec_builder().stage_file("/tmp/in", "staged", 0o644);
        chain.env("WHAT", "chained").chain(commands).unwrap()
    };
    let results = run(&[
        "cat /tmp/in; echo one >&2",
        "head -c 600000 /dev/zero; echo $WHAT >&2",
        "true",
        "echo last; exit 7",
        "touch /tmp/ran",
    ]);
    let outputs: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let seen: Vec<_> = outputs
        .iter()
        .map(|out| (out.stdout.len(), text(&out.stderr), out.status()))
        .collect();
    let code = ExitStatus::Code;
    assert_eq!(
        seen,
        [
            (6, "one\n", code(0)),
            (600_000, "chained\n", code(0)),
            (0, "", code(0)),
            (5, "", code(7)),
        ]
    );
    assert_eq!(outputs[0].stdout, b"staged");
    assert!(vm.files().stat("/tmp/ran").is_err());

    let chain = [vec!["echo", "a"], vec!["/no/such"], vec!["true"]];
    let mut results = vm.exec_builder().chain(chain).unwrap();
    assert_eq!(results.len(), 2);
    let Err(Error::Session(SessionError::Guest(failure))) = results.pop().unwrap() else {
        panic!("{results:?}")
    };
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(results.pop().unwrap().unwrap().stdout, b"a\n");

    let slow = vm.exec_builder().timeout(Duration::from_millis(200));
    let results = slow.chain([["sleep", "0"], ["sleep", "1000"]]).unwrap();
    assert_eq!(results.len(), 2);
    assert!(results[1].as_ref().unwrap().exit.timed_out);
    assert!(vm.exec_builder().chain([[""; 0]; 0]).unwrap().is_empty());
    let fed = vm.exec_builder().stdin(ExecStdin::Stream);
    assert!(matches!(fed.chain([["true"]]), Err(Error::Config(_))));
}

/// Reads until a line, so that the process is known to run.
fn read_line(mut reader: impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    text(&line).trim().to_owned()
}

/// Waits inside until no process of this name is there; the guest tells by the end of a wait on it.
fn assert_gone(vm: &Vm, pid: &str) {
    let script = "while kill -0 $1 2>/dev/null; do true; done";
    let out = vm.exec(["sh", "-c", script, "-", pid]).unwrap();
    assert!(out.success());
}

#[test]
fn a_canceled_exec_is_killed_with_its_group_and_who_waits_hears_it() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let script = "trap '' TERM HUP; sleep 1000 & echo $!; wait";
    let shell = || vm.exec_builder().argv(["sh", "-c", script]);
    let is_canceled = |error: &Error| matches!(error, Error::Session(SessionError::Canceled));
    for has_terminal in [false, true] {
        let mut builder = shell();
        if has_terminal {
            builder = builder.tty(WindowSize {
                rows: 24,
                columns: 80,
            });
        }
        let mut child = builder.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let sleeper = read_line(&mut stdout);
        let canceler = child.canceler();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| child.wait());
            let reading = scope.spawn(move || stdout.read(&mut [0; 8]));
            canceler.clone().cancel();
            assert!(is_canceled(&waiting.join().unwrap().unwrap_err()));
            let broken = reading.join().unwrap().unwrap_err();
            assert_eq!(broken.kind(), ErrorKind::ConnectionAborted);
        });
        assert_gone(&vm, &sleeper);
    }

    // One that is collected, and one that is started after its end was asked for.
    let canceler = Canceler::new();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let fifo = "mkfifo /tmp/runs; echo > /tmp/runs; sleep 1000";
            let exec = vm.exec_builder().argv(["sh", "-c", fifo]);
            exec.canceler(&canceler).output()
        });
        let script = "until read -r _ < /tmp/runs; do true; done 2>/dev/null";
        assert!(vm.exec(["sh", "-c", script]).unwrap().success());
        canceler.cancel();
        assert!(is_canceled(&waiting.join().unwrap().unwrap_err()));
    });
    let late = vm.exec_builder().argv(["sleep", "1000"]);
    assert!(is_canceled(&late.canceler(&canceler).output().unwrap_err()));
    let chain = vm.exec_builder().canceler(&canceler);
    let results = chain.chain([["true"], ["true"]]).unwrap();
    assert!(is_canceled(results.last().unwrap().as_ref().unwrap_err()));
    assert!(vm.exec(["true"]).unwrap().success());
}
