//! Looking at a VM while it runs: logs, health, figures, processes.

use rustix::process::{Signal, kill_process};
use std::io::Write;
use testkit::{Home, Processes};

#[test]
fn logs_are_picked_by_line_and_time_and_survive_a_killed_vmm() {
    let home = Home::new();
    let image = home.image("busybox");
    let work = "for n in 1 2 3; do echo line $n; done; echo bad >&2; while true; do sleep 1; done";
    home.run(["run", "-d", "--name", "web", &image, "sh", "-c", work])
        .ok();
    let mut log = home.cli(["logs", "-f", "web"]).start();
    for n in 1..=3 {
        assert_eq!(log.line(), format!("line {n}"));
    }
    for vmm in Processes::of_this_test().vmms() {
        kill_process(vmm, Signal::KILL).unwrap();
    }
    let followed = log.finish();
    assert_eq!((followed.code, followed.stderr.as_str()), (0, "bad\n"));

    let tail = home.run(["logs", "-n", "2", "web"]);
    assert_eq!((tail.ok(), tail.stderr.as_str()), ("line 3\n", "bad\n"));
    let stamped = home.run(["logs", "-t", "--tail", "all", "web"]);
    for (line, n) in stamped.ok().lines().zip(1..) {
        let (time, text) = line.split_once(' ').unwrap();
        assert_eq!(text, format!("line {n}"));
        assert!(time.len() == 30 && time.ends_with('Z'), "{line}");
    }
    assert_eq!(home.run(["logs", "--until", "1h", "web"]).ok(), "");
    assert_eq!(
        home.run(["logs", "--since", "1h", "web"]).ok(),
        "line 1\nline 2\nline 3\n"
    );
    for wrong in [["--since", "yesterday"], ["--tail", "x"]] {
        let out = home.run([&["logs"], &wrong[..], &["web"]].concat());
        assert_eq!(out.code, 125);
        assert!(out.stderr.contains(wrong[0]), "{}", out.stderr);
    }
    home.run(["start", "web"]).ok();
    let mut log = home.cli(["logs", "-f", "web"]).start();
    for n in [1, 2, 3, 1, 2, 3] {
        assert_eq!(
            log.line(),
            format!("line {n}"),
            "the log goes on in the next life"
        );
    }
    home.run(["rm", "-f", "web"]).ok();
    home.assert_nothing_left();
}

#[test]
fn a_log_is_kept_within_its_limits() {
    let home = Home::new();
    let limits = [
        "run",
        "-d",
        "--name",
        "loud",
        "--log-opt",
        "max-size=64k",
        "--log-opt",
        "max-file=3",
    ];
    let image = home.image("busybox");
    home.run([&limits[..], &[&image, "seq", "200000"]].concat())
        .ok();
    assert_eq!(home.run(["wait", "loud"]).ok(), "0\n");
    let log = home.run(["logs", "loud"]);
    let lines: Vec<_> = log.ok().lines().collect();
    assert_eq!(lines.last(), Some(&"200000"));
    assert!(lines.len() > 1000);
    assert!(
        log.stdout.len() < 6 * (64 << 10),
        "{} bytes",
        log.stdout.len()
    );
}

#[test]
fn a_health_check_is_run_inside_and_its_verdict_is_shown() {
    let home = Home::new();
    // The test says through the workload's output that it runs; the test after it has the result of the one before.
    let check = "echo asked > /asks; test -e /well";
    let flags = [
        "run",
        "-d",
        "--name",
        "web",
        "--health-cmd",
        check,
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
    ];
    let work = "mkfifo /asks; while true; do cat /asks; done";
    home.run([&flags[..], &[&home.image("busybox"), "sh", "-c", work]].concat())
        .ok();
    assert_eq!(health(&home), "starting 0");
    let mut log = home.cli(["logs", "-f", "web"]).start();
    let mut asked = |times| {
        (0..times).for_each(|_| assert_eq!(log.line(), "asked"));
        // What the supervisor was told before, it has written when it answers.
        home.run(["pause", "web"]).ok();
        home.run(["unpause", "web"]).ok();
    };
    asked(3);
    assert!(health(&home).starts_with("unhealthy"), "{}", health(&home));
    let listed = home.run([
        "ps",
        "--filter",
        "health=unhealthy",
        "--format",
        "{{.Names}} {{.Status}}",
    ]);
    assert!(
        listed.ok().starts_with("web Up") && listed.ok().ends_with("(unhealthy)\n"),
        "{}",
        listed.ok()
    );
    home.run(["exec", "web", "touch", "/well"]).ok();
    asked(3);
    assert_eq!(health(&home), "healthy 0");
    let last = home.run(["inspect", "-f", "{{json .State.Health.Log}}", "web"]);
    assert!(
        last.ok().contains(r#""ExitCode":0"#) && last.ok().contains(r#""ExitCode":1"#),
        "{}",
        last.ok()
    );
    home.run(["rm", "-f", "web"]).ok();
    home.assert_nothing_left();
}

#[test]
fn figures_and_processes_are_shown_without_a_program_of_the_image() {
    let home = Home::new();
    let image = home.image("busybox");
    let work = "sleep 1001 & until grep -q sleep /proc/$!/comm && grep -q State:.S /proc/$!/status; do :; done; \
                echo ready; while true; do :; done";
    home.run([
        "run", "-d", "--name", "web", "-m", "64m", &image, "sh", "-c", work,
    ])
    .ok();
    assert_eq!(home.cli(["logs", "-f", "web"]).start().line(), "ready");
    let top = home.run(["top", "web"]);
    let sleeper = top.ok().lines().find(|line| line.ends_with(" sleep 1001"));
    let fields: Vec<_> = sleeper.unwrap().split_whitespace().collect();
    assert_eq!(
        (fields[0], fields[3], fields[4]),
        ("0", "S", "1"),
        "{fields:?}"
    );

    let format = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}} {{.HostMem}}";
    let stats = home.run(["stats", "--no-stream", "--format", format]);
    let fields: Vec<_> = stats.ok().split_whitespace().collect();
    assert_eq!((fields[0], fields[4]), ("web", "64.0MiB"), "{fields:?}");
    assert_ne!(fields[1], "0.00%", "it is busy");
    // The init, the shell and the sleeper.
    assert_eq!(fields[5], "3", "{fields:?}");
    assert!(fields[6].ends_with("MiB"), "{fields:?}");
    assert_eq!(home.run(["stats", "--no-stream", "nobody"]).code, 125);
    let refused = home.run(["top", "web", "-ef"]);
    assert!(refused.stderr.contains("-ef"), "{}", refused.stderr);
    home.run(["rm", "-f", "web"]).ok();
}

fn health(home: &Home) -> String {
    let format = "{{.State.Health.Status}} {{.State.Health.FailingStreak}}";
    let out = home.run(["inspect", "-f", format, "web"]);
    out.ok().trim_end().to_owned()
}

#[test]
fn a_full_disk_costs_lines_of_the_log_and_nothing_else() {
    let home = Home::with_disk_of(96 << 20);
    let image = home.image("busybox");
    let work = "mkfifo /dev/shm/go /dev/shm/done; exec 3<> /dev/shm/go; echo first; read x <&3; seq 1 20000; \
                echo > /dev/shm/done; read x <&3; echo last; read x <&3; exit 3";
    home.run(["run", "-d", "--name", "web", &image, "sh", "-c", work])
        .ok();
    let mut log = home.cli(["logs", "-f", "web"]).start();
    assert_eq!(log.line(), "first");
    let go = |then: &str| {
        home.run([
            "exec",
            "web",
            "sh",
            "-c",
            &format!("echo > /dev/shm/go; {then}"),
        ])
    };
    let filler = fill(&home);
    go("cat /dev/shm/done").ok();
    std::fs::remove_file(&filler).unwrap();
    go("").ok();
    let mut lines = 0;
    while log.line() != "last" {
        lines += 1;
    }
    assert!(lines < 20_000, "the disk was not full");
    // It ends while the disk is full again: its exit code is known all the same. It may be gone before `exec` has ended.
    fill(&home);
    go("");
    assert_eq!(home.run(["wait", "web"]).ok(), "3\n");
    let list = home.run(["ps", "-a", "--json"]);
    let told = "output is missing from the log: No space left";
    assert!(list.ok().contains(told), "{}", list.ok());

    // In the foreground nothing of the output is lost, and what the log lost is told.
    std::fs::remove_file(&filler).unwrap();
    let work = "echo up; read x; seq 1 20000; exit 4";
    let mut front = home
        .cli(["run", "-i", "--name", "front", &image, "sh", "-c", work])
        .start();
    assert_eq!(front.line(), "up");
    fill(&home);
    front.take_stdin().write_all(b"\n").unwrap();
    for n in 1..=20_000 {
        assert_eq!(front.line(), n.to_string());
    }
    let out = front.finish();
    assert_eq!(out.code, 4, "{}", out.stderr);
    assert!(out.stderr.contains(told), "{}", out.stderr);
    home.run(["rm", "web", "front"]).ok();
    std::fs::remove_file(&filler).unwrap();
    home.assert_nothing_left();
}

/// Takes what room there is on the disk of this home.
fn fill(home: &Home) -> std::path::PathBuf {
    let filler = home.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let block = vec![1; 4096];
    while file.write_all(&block).is_ok() {}
    filler
}
