//! `supermachine run`: streams, exit codes, flags.

use testkit::Home;

#[test]
fn output_comes_on_its_own_stream_and_the_exit_code_is_the_workloads() {
    let home = Home::new();
    // What the first run of all says of its template is not about this.
    home.run(["run", "--rm", &home.image("busybox"), "true"])
        .ok();
    let out = home.run([
        "run",
        "--rm",
        &home.image("busybox"),
        "/bin/sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    assert_eq!(
        (out.text(), out.stderr.as_str(), out.code),
        ("out\n", "err\n", 7)
    );
    home.assert_nothing_left();
}

#[test]
fn a_killed_workload_exits_with_128_plus_the_signal() {
    let home = Home::new();
    let out = home.run([
        "run",
        "--rm",
        &home.image("busybox"),
        "sh",
        "-c",
        "kill -KILL $$",
    ]);
    assert_eq!(out.code, 137);
}

#[test]
fn a_missing_program_is_127_and_named() {
    let home = Home::new();
    let out = home.run(["run", "--rm", &home.image("busybox"), "no-such-program"]);
    assert_eq!(out.code, 127);
    assert!(out.stderr.contains("no-such-program"), "{}", out.stderr);
}

#[test]
fn a_file_that_is_no_program_is_126_and_named() {
    let home = Home::new();
    let out = home.run(["run", "--rm", &home.image("busybox"), "/etc/passwd"]);
    assert_eq!(out.code, 126);
    assert!(out.stderr.contains("/etc/passwd"), "{}", out.stderr);
}

#[test]
fn our_own_failures_are_125() {
    let home = Home::new();
    assert_eq!(
        home.run(["run", "--no-such-flag", &home.image("busybox")])
            .code,
        125
    );
    assert_eq!(home.run(["run", "oci:/no/such/layout", "true"]).code, 125);
}

#[test]
fn a_timeout_is_124_and_leaves_nothing() {
    let home = Home::new();
    let out = home.run([
        "run",
        "--rm",
        "--timeout",
        "1s",
        &home.image("busybox"),
        "sleep",
        "1000",
    ]);
    assert_eq!(out.code, 124, "{}", out.stderr);
    home.assert_nothing_left();
}

#[test]
fn an_image_with_one_static_program_runs() {
    let home = Home::new();
    let out = home.run(["run", "--rm", &home.image("static")]);
    assert_eq!(out.ok(), "hello\n");
}

#[test]
fn environment_user_directory_and_hostname_are_as_asked() {
    let home = Home::new();
    std::fs::write(
        home.scratch().join("env"),
        "FROM_FILE=two words\n# a comment\n",
    )
    .unwrap();
    let file = home.scratch().join("env").display().to_string();
    let flags = [
        "-e",
        "A=b c",
        "--env-file",
        &file,
        "-u",
        "nobody",
        "-w",
        "/made/for/me",
        "--hostname",
        "box",
    ];
    let script = "echo $A/$FROM_FILE; id -un; pwd; hostname";
    let out = home.run(
        [
            &["run", "--rm"],
            &flags[..],
            &[&home.image("busybox"), "sh", "-c", script],
        ]
        .concat(),
    );
    assert_eq!(out.ok(), "b c/two words\nnobody\n/made/for/me\nbox\n");
}

#[test]
fn standard_input_reaches_the_workload_only_with_the_flag() {
    let home = Home::new();
    let with = home
        .cli(["run", "-i", "--rm", &home.image("busybox"), "cat"])
        .output_with_input(b"through\n");
    assert_eq!(with.ok(), "through\n");
    let without = home
        .cli(["run", "--rm", &home.image("busybox"), "cat"])
        .output_with_input(b"through\n");
    assert_eq!(without.ok(), "");
}

#[test]
fn entrypoint_replaces_the_images_and_drops_its_command() {
    let home = Home::new();
    let out = home.run([
        "run",
        "--rm",
        "--entrypoint",
        "/testbox",
        &home.image("static"),
        "argv",
        "a",
        "",
        "b c",
    ]);
    assert_eq!(out.ok(), "a\n\nb c\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_cleanly() {
    let home = Home::new();
    let mut running = home
        .cli(["run", "--rm", &home.image("busybox"), "yes"])
        .start();
    assert_eq!(running.line(), "y");
    running.close_stdout();
    running.finish();
    home.assert_nothing_left();
}

#[test]
fn a_first_interrupt_is_the_workloads_and_a_second_one_ends_it() {
    let home = Home::new();
    let script = "trap 'echo interrupted' INT; echo ready; while true; do sleep 0.1; done";
    let mut running = home
        .cli(["run", "--rm", &home.image("busybox"), "sh", "-c", script])
        .start();
    assert_eq!(running.line(), "ready");
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.line(), "interrupted");
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.finish().code, 137);
    home.assert_nothing_left();
}

#[test]
fn a_detached_vm_is_listed_logged_waited_for_and_removed() {
    let home = Home::new();
    let script = "echo working; exit 3";
    let name = home.run([
        "run",
        "-d",
        "--name",
        "job",
        &home.image("busybox"),
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(name.ok(), "job\n");
    assert_eq!(home.run(["wait", "job"]).ok(), "3\n");
    assert_eq!(home.run(["logs", "job"]).ok(), "working\n");
    assert_eq!(home.run(["ps", "-q"]).ok(), "");
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "job\n");
    home.run(["rm", "job"]).ok();
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
    home.assert_nothing_left();
}

#[test]
fn stop_sends_term_and_kills_what_ignores_it() {
    let home = Home::new();
    home.run([
        "run",
        "-d",
        "--name",
        "polite",
        &home.image("busybox"),
        "sh",
        "-c",
        "trap 'exit 9' TERM; while true; do sleep 0.1; done",
    ])
    .ok();
    home.run([
        "run",
        "-d",
        "--name",
        "stubborn",
        &home.image("busybox"),
        "sh",
        "-c",
        "trap '' TERM; while true; do sleep 0.1; done",
    ])
    .ok();
    home.run(["stop", "polite"]).ok();
    home.run(["stop", "-t", "1", "stubborn"]).ok();
    assert_eq!(home.run(["wait", "polite"]).ok(), "9\n");
    assert_eq!(home.run(["wait", "stubborn"]).ok(), "137\n");
    home.run(["rm", "polite", "stubborn"]).ok();
    home.assert_nothing_left();
}

#[test]
fn more_than_one_cpu_on_software_kvm_is_an_error_that_says_so() {
    let home = Home::new();
    let out = home.run([
        "run",
        "--rm",
        "--cpus",
        "2",
        &home.image("busybox"),
        "nproc",
    ]);
    let probe = std::process::Command::new(testkit::target::program("supermachine-vmm"))
        .arg("--probe")
        .output()
        .unwrap();
    if String::from_utf8(probe.stdout)
        .unwrap()
        .contains("software-kvm")
    {
        assert_eq!(out.code, 125);
        assert!(out.stderr.contains("CPU"), "{}", out.stderr);
    } else {
        assert_eq!(out.ok(), "2\n");
    }
}

#[test]
fn memory_reaches_beyond_the_hole_for_devices() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "awk '/MemTotal/ { print $2 }' /proc/meminfo";
    for how in [&["--cold-boot"][..], &[]] {
        let words = [
            &["run", "--rm", "--memory", "4G"],
            how,
            &[image.as_str(), "sh", "-c", script],
        ];
        let kib: u64 = home.run(words.concat()).ok().trim().parse().unwrap();
        assert!(kib > 3_800_000, "{kib}");
    }
}
