//! Further processes in a running VM.

use crate::idle_vm;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;
use supermachine::{Deadline, Error, ExecStdin, ExitStatus, SessionError, Signal, VmConfig};
use testkit::Home;

#[test]
fn an_exec_gives_both_streams_the_code_and_what_it_used() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let output = vm
        .exec(["sh", "-c", "echo out; echo err >&2; exit 7"])
        .unwrap();
    assert_eq!(output.status(), ExitStatus::Code(7));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert!(output.duration() > Duration::ZERO && output.exit.max_rss_kib > 0);
}

#[test]
fn environment_user_and_directory_of_one_exec_leave_the_next_alone() {
    let home = Home::new();
    let vm = crate::image(&home, "busybox")
        .start(&VmConfig::new().env("A", "vm").workdir("/tmp"))
        .unwrap();
    let script = r#"echo "$A $(id -u):$(id -g) $(pwd)""#;
    let changed = vm
        .exec_builder()
        .argv(["sh", "-c", script])
        .env("A", "exec")
        .user("12:34")
        .cwd("/new/dir");
    assert_eq!(changed.output().unwrap().stdout, b"exec 12:34 /new/dir\n");
    assert_eq!(
        vm.exec(["sh", "-c", script]).unwrap().stdout,
        b"vm 0:0 /tmp\n"
    );
}

#[test]
fn guest_10_every_byte_but_nul_survives_in_arguments_environment_and_input() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let all: Vec<u8> = (1..=255).collect();
    let text = OsStr::from_bytes(&all);
    let script = OsStr::new(r#"printf %s "$1"; printf %s "$X" >&2; cat"#);
    let argv = [
        OsStr::new("sh"),
        OsStr::new("-c"),
        script,
        OsStr::new("sh"),
        text,
    ];
    let exec = vm
        .exec_builder()
        .argv(argv)
        .env("X", text)
        .stdin(ExecStdin::Bytes((0..=255).collect()));
    let output = exec.output().unwrap();
    assert_eq!(output.stdout, [all.clone(), (0..=255).collect()].concat());
    assert_eq!(output.stderr, all);
}

#[test]
fn programs_that_cannot_run_are_named_with_the_exit_code_of_a_shell() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let failure = |error: Error| (error.exit_code(), error.to_string());
    let (code, message) = failure(vm.exec(["/bin/nope"]).unwrap_err());
    assert!(
        code == 127 && message.contains("/bin/nope"),
        "{code} {message}"
    );
    let (code, message) = failure(vm.exec(["/etc/passwd"]).unwrap_err());
    assert!(
        code == 126 && message.contains("/etc/passwd"),
        "{code} {message}"
    );
    let (code, message) = failure(
        vm.exec_builder()
            .argv(["true"])
            .user("nobody-here")
            .output()
            .unwrap_err(),
    );
    assert!(
        code == 126 && message.contains("nobody-here"),
        "{code} {message}"
    );
    assert!(matches!(vm.exec([""; 0]).unwrap_err(), Error::Config(_)));
}

#[test]
fn guest_16_two_hundred_execs_at_once_return_their_own_output_and_code() {
    let home = Home::new();
    let vm = idle_vm(&home);
    std::thread::scope(|scope| {
        let execs: Vec<_> = (0..200)
            .map(|number| {
                let vm = &vm;
                let script = format!("echo {number}; echo e{number} >&2; exit {}", number % 100);
                (
                    number,
                    scope.spawn(move || vm.exec(["sh", "-c", &script]).unwrap()),
                )
            })
            .collect();
        for (number, exec) in execs {
            let output = exec.join().unwrap();
            assert_eq!(output.stdout, format!("{number}\n").into_bytes());
            assert_eq!(output.stderr, format!("e{number}\n").into_bytes());
            assert_eq!(output.status(), ExitStatus::Code(number % 100));
        }
    });
}

#[test]
fn a_timeout_kills_the_process_inside_and_a_deadline_gives_up_outside() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let output = vm
        .exec_builder()
        .argv(["sleep", "1000"])
        .timeout(Duration::from_millis(200))
        .output()
        .unwrap();
    assert!(output.exit.timed_out);
    let deadline = Deadline::after(Duration::from_millis(200));
    let error = vm
        .exec_builder()
        .argv(["sleep", "1001"])
        .deadline(deadline)
        .output()
        .unwrap_err();
    assert!(
        matches!(error, Error::Deadline { .. }) && error.exit_code() == 124,
        "{error}"
    );
    // The agent kills what its host gave up on; it has done so when the next process list is made.
    let gone = r#"for i in 1 2 3 4 5 6 7 8 9; do pgrep -f "sleep 1001" >/dev/null || exit 0; sleep 1; done; exit 1"#;
    assert!(vm.exec(["sh", "-c", gone]).unwrap().success());
}

#[test]
fn a_signal_ends_a_running_exec_and_its_exit_says_so() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let child = vm.exec_builder().argv(["sleep", "1000"]).spawn().unwrap();
    assert!(child.pid().unwrap() > 1);
    assert_eq!(child.try_wait().unwrap(), None);
    child.signal(Signal::TERM);
    assert_eq!(child.wait().unwrap().status, ExitStatus::Signal(15));
}

#[test]
fn more_output_than_the_caller_wants_is_an_error_and_not_a_full_memory() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let error = vm
        .exec_builder()
        .argv(["yes"])
        .output_limit(1 << 20)
        .output()
        .unwrap_err();
    assert!(
        matches!(error, Error::Session(SessionError::OutputLimit(_))),
        "{error}"
    );
}
