//! Warm images: a workload that was written down when it was ready.

use rustix::process::Signal;
use std::fs;
use std::time::Duration;
use testkit::Home;

/// Neither a VM nor its record nor a snapshot, not even half of one.
fn assert_nothing(home: &Home) {
    home.assert_nothing_left();
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
    let entries = fs::read_dir(home.path().join("snapshots")).unwrap();
    let dirs = entries.map(|entry| entry.unwrap().path());
    assert_eq!(dirs.filter(|path| path.is_dir()).count(), 0);
}

/// Warms busybox with a script.
fn warm(home: &Home, ready: &str, script: &str) -> testkit::Output {
    let image = home.image("busybox");
    home.run([
        "warm", &image, "--name", "s1", "--ready", ready, "--", "sh", "-c", script,
    ])
}

/// What a command beside the warm workload writes.
fn beside(home: &Home, script: &str) -> String {
    let out = home.run(["run", "--rm", "--snapshot", "s1", "sh", "-c", script]);
    out.ok().to_owned()
}

#[test]
fn nginx_that_listens_serves_its_page_from_its_snapshot_at_once() {
    let home = Home::new();
    let image = home.image("nginx");
    let out = home.run(["warm", &image, "--ready", "listen:80", "-e", "COLOR=blue"]);
    assert_eq!(out.ok(), "nginx\n");
    home.assert_nothing_left();
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
    let fetch = "exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3; echo $COLOR";
    for _ in 0..2 {
        let out = home.run(["run", "--rm", "--snapshot", "nginx", "bash", "-c", fetch]);
        assert!(out.ok().contains("Welcome to nginx"), "{}", out.text());
        assert!(out.ok().ends_with("blue\n"), "{}", out.text());
    }
    let refused = home.run(["warm", &image, "--ready", "listen:80"]);
    assert_eq!(refused.code, 125);
    assert!(
        refused.stderr.contains("the name nginx is in use")
            && refused.stderr.contains("snapshot rm"),
        "{}",
        refused.stderr
    );
    home.run(["snapshot", "rm", "nginx"]).ok();
    assert_nothing(&home);
}

#[test]
fn a_port_is_waited_for_until_something_listens_there() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "usleep 50000; exec nc -l -p 8080";
    let words = [
        "warm",
        &image,
        "--ready",
        "listen:8080",
        "--name",
        "s1",
        "--hostname",
        "box",
    ];
    let out = home.run(words.into_iter().chain(["--", "sh", "-c", script]));
    assert_eq!(out.ok(), "s1\n");
    assert!(beside(&home, "cat /proc/net/tcp /proc/net/tcp6").contains(":1F90 "));
    home.run(["snapshot", "rm", "s1"]).ok();
    assert_nothing(&home);
}

#[test]
fn a_file_is_waited_for_whose_directory_is_made_late() {
    let home = Home::new();
    let script = "usleep 50000; mkdir -p /run/a/b; usleep 50000; echo 41 > /run/a/b/ready; \
                  while true; do sleep 100; done";
    assert_eq!(warm(&home, "file:/run/a/b/ready", script).ok(), "s1\n");
    assert_eq!(beside(&home, "cat /run/a/b/ready"), "41\n");
    home.run(["snapshot", "verify", "s1"]).ok();
    home.run(["snapshot", "rm", "s1"]).ok();
    assert_nothing(&home);
}

#[test]
fn a_command_is_tried_until_it_succeeds() {
    let home = Home::new();
    let script = "usleep 300000; echo 1 > /a; sleep 1000";
    let ready = "exec:echo x >> /tries; test -s /a";
    assert_eq!(warm(&home, ready, script).ok(), "s1\n");
    let tries: u32 = beside(&home, "wc -l < /tries").trim().parse().unwrap();
    assert!((2..50).contains(&tries), "{tries}");
    home.run(["snapshot", "rm", "s1"]).ok();
    assert_nothing(&home);
}

#[test]
fn a_line_of_either_stream_is_found_by_a_regular_expression() {
    let home = Home::new();
    let script = "echo starting; printf 'up in ' >&2; usleep 50000; echo '35 ms' >&2; sleep 1000";
    assert_eq!(warm(&home, r"log:^up in \d+ ms$", script).ok(), "s1\n");
    assert_eq!(beside(&home, "echo here"), "here\n");
    home.run(["snapshot", "rm", "s1"]).ok();
    assert_nothing(&home);
}

#[test]
fn a_workload_that_is_not_ready_in_time_is_shown_with_its_last_words_and_leaves_nothing() {
    let home = Home::new();
    let image = home.image("busybox");
    for (ready, said) in [
        ("listen:80", ""),
        ("file:/none", ""),
        ("exec:false", "the last try: it ended with exit code 1"),
        ("exec:/no/such", "the last try: "),
        ("exec:sleep 1000", "the last try: it was still running"),
        ("log:never", ""),
    ] {
        let script = "echo waiting for the database; sleep 1000";
        let words = [
            "warm",
            &image,
            "--ready",
            ready,
            "--timeout",
            "700ms",
            "--",
            "sh",
            "-c",
        ];
        let out = home.run(words.into_iter().chain([script]));
        assert_eq!((out.code, out.text()), (125, ""), "{ready}");
        let expected = format!("was not ready within 700ms: {ready} did not come true");
        for words in [&expected, said, "waiting for the database"] {
            assert!(out.stderr.contains(words), "{ready}: {}", out.stderr);
        }
        assert_nothing(&home);
    }
}

#[test]
fn a_workload_that_ends_before_it_is_ready_is_named_with_its_exit_code_and_last_words() {
    let home = Home::new();
    for ready in ["listen:80", "file:/none", "exec:false", "log:never"] {
        let out = warm(&home, ready, "echo no database >&2; usleep 50000; exit 3");
        assert_eq!((out.code, out.text()), (125, ""), "{ready}");
        let expected = format!("ended with exit code 3 before it was ready: {ready} did not");
        for words in [expected.as_str(), "no database"] {
            assert!(out.stderr.contains(words), "{ready}: {}", out.stderr);
        }
        assert_nothing(&home);
    }
}

#[test]
fn an_interrupt_ends_the_wait_and_leaves_nothing() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "trap 'exit 0' INT; echo up > /up; while true; do usleep 1000; done";
    let words = [
        "warm",
        &image,
        "--ready",
        "log:never",
        "--",
        "sh",
        "-c",
        script,
    ];
    let warm = home.cli(words).start();
    let up = "until [ -s /up ]; do usleep 1000; done";
    loop {
        let names = home.run(["ps", "-q"]);
        if let Some(name) = names.ok().lines().next()
            && home.run(["exec", name, "sh", "-c", up]).code == 0
        {
            break;
        }
        assert!(!warm.ends_within(Duration::from_millis(20)));
    }
    warm.signal(Signal::INT);
    assert_eq!(warm.finish().code, 130);
    assert_nothing(&home);
}

#[test]
fn without_room_nothing_is_left() {
    let home = Home::with_disk_of(96 << 20);
    let image = home.image("busybox");
    home.run(["run", "--rm", &image, "true"]).ok();
    let room = rustix::fs::statvfs(home.path()).unwrap();
    let free = room.f_bavail * room.f_frsize;
    let filler = home.path().join("filler");
    fs::write(&filler, vec![1; (free - (4 << 20)) as usize]).unwrap();
    let fill = "head -c 16000000 /dev/urandom > /dev/shm/x; echo up; sleep 1000";
    let out = warm(&home, "log:up", fill);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("No space left"), "{}", out.stderr);
    assert_nothing(&home);
    fs::remove_file(filler).unwrap();
    assert_eq!(warm(&home, "log:up", fill).ok(), "s1\n");
    home.run(["snapshot", "rm", "s1"]).ok();
    assert_nothing(&home);
}

#[test]
fn a_warm_workload_has_the_limits_and_the_network_it_was_given() {
    let home = Home::new();
    let image = home.image("busybox");
    let flags = [
        "--ulimit",
        "nofile=77",
        "--sysctl",
        "vm.swappiness=33",
        "--network",
        "none",
        "--group-add",
        "99",
    ];
    let script = "ulimit -n > /facts; id -G >> /facts; echo up; exec tail -f /dev/null";
    let what = [
        "--name", "s1", "--ready", "log:up", "--", "sh", "-c", script,
    ];
    let out = home.run([&["warm"], &flags[..], &[&image], &what].concat());
    assert_eq!(out.ok(), "s1\n");
    let facts = beside(
        &home,
        "cat /facts /proc/sys/vm/swappiness; ip -4 -o addr show dev eth0 | wc -l",
    );
    assert_eq!(facts, "77\n0 99\n33\n0\n");
    home.run(["snapshot", "rm", "s1"]).ok();
    assert_nothing(&home);
}
