//! The life of a VM: created, started, paused, renamed, stopped, started again.

use rustix::process::{Signal, kill_process};
use testkit::{Home, Processes};

const WORK: [&str; 3] = ["sh", "-c", "echo ready; while true; do sleep 1; done"];

#[test]
fn a_vm_keeps_its_disk_and_log_over_stop_start_and_restart() {
    let home = Home::new();
    let name = home.run(
        [
            &["create", "--name", "web", &home.image("busybox")],
            &WORK[..],
        ]
        .concat(),
    );
    assert_eq!(name.ok(), "web\n");
    assert_eq!(status(&home, "web"), "created");
    assert_eq!(home.run(["ps", "-q"]).ok(), "");
    let running = home.run(["exec", "web", "true"]);
    assert!(running.stderr.contains("not running"), "{}", running.stderr);

    assert_eq!(home.run(["start", "web"]).ok(), "web\n");
    let mut log = home.cli(["logs", "-f", "web"]).start();
    assert_eq!(log.line(), "ready");
    home.run(["exec", "web", "sh", "-c", "echo kept > /root-file"])
        .ok();
    assert_eq!(home.run(["start", "web"]).ok(), "web\n", "it runs already");

    home.run(["restart", "-t", "0", "web"]).ok();
    let kept = home.run(["exec", "web", "cat", "/root-file"]);
    assert_eq!(kept.ok(), "kept\n");
    home.run(["stop", "-t", "0", "web"]).ok();
    assert_eq!(status(&home, "web"), "exited");
    home.run(["start", "web"]).ok();
    assert_eq!(
        home.run(["exec", "web", "cat", "/root-file"]).ok(),
        "kept\n"
    );
    home.run(["rm", "-f", "web"]).ok();
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "");
    home.assert_nothing_left();
}

#[test]
fn a_running_vm_is_renamed_paused_and_inspected() {
    let home = Home::new();
    let cidfile = home.scratch().join("cid");
    let file = cidfile.to_str().unwrap();
    let flags = [
        "run",
        "-d",
        "--name",
        "old",
        "--label",
        "tier=front",
        "--stop-signal",
        "INT",
        "--cidfile",
        file,
    ];
    let image = home.image("busybox");
    home.run([&flags[..], &[&image], &WORK[..]].concat()).ok();
    let again = home.run(["run", "--cidfile", file, &image, "true"]);
    assert_eq!(again.code, 125, "{}", again.stderr);
    assert!(again.stderr.contains("--cidfile"), "{}", again.stderr);

    home.run(["rename", "old", "web"]).ok();
    assert_eq!(home.run(["exec", "web", "echo", "here"]).ok(), "here\n");
    assert_eq!(home.run(["inspect", "old"]).code, 125);
    let format =
        "{{.Id}} {{.Name}} {{.State.Status}} {{.Config.StopSignal}} {{json .Config.Labels}}";
    let id = std::fs::read_to_string(&cidfile).unwrap();
    assert_eq!(
        home.run(["inspect", "-f", format, "web"]).ok(),
        format!("{id} /web running SIGINT {{\"tier\":\"front\"}}\n")
    );
    let filtered = [
        "ps",
        "--filter",
        "label=tier=front",
        "--format",
        "{{.Names}} {{.Label \"tier\"}}",
    ];
    assert_eq!(home.run(filtered).ok(), "web front\n");
    assert_eq!(
        home.run(["ps", "-q", "--filter", "label=tier=back"]).ok(),
        ""
    );

    home.run(["pause", "web"]).ok();
    assert_eq!(status(&home, "web"), "paused");
    let refused = home.run(["exec", "web", "true"]);
    assert!(refused.stderr.contains("paused"), "{}", refused.stderr);
    let refused = home.run(["attach", "web"]);
    assert!(refused.stderr.contains("unpause"), "{}", refused.stderr);
    assert_eq!(refused.code, 125);
    assert_eq!(home.run(["pause", "web"]).code, 125);
    home.run(["unpause", "web"]).ok();
    assert_eq!(home.run(["exec", "web", "echo", "on"]).ok(), "on\n");
    home.run(["pause", "web"]).ok();
    // What stands still is stopped all the same.
    home.run(["stop", "-t", "0", "web"]).ok();
    assert_eq!(status(&home, "web"), "exited");
    home.assert_nothing_left();
}

#[test]
fn a_restart_policy_starts_a_failed_vm_again_as_often_as_it_says() {
    let home = Home::new();
    let policy = ["run", "-d", "--name", "job", "--restart", "on-failure:2"];
    let image = home.image("busybox");
    let work = "echo x >> /lives; wc -l < /lives; exit 3";
    home.run([&policy[..], &[&image, "sh", "-c", work]].concat())
        .ok();
    // The log goes on over all lives and ends with the last one.
    assert_eq!(home.run(["logs", "-f", "job"]).ok(), "1\n2\n3\n");
    let format = "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(
        home.run(["inspect", "-f", format, "job"]).ok(),
        "2 exited 3\n"
    );
    let success = [
        "run",
        "-d",
        "--name",
        "good",
        "--restart",
        "on-failure",
        &image,
        "true",
    ];
    home.run(success).ok();
    assert_eq!(home.run(["logs", "-f", "good"]).ok(), "");
    assert_eq!(
        home.run(["inspect", "-f", format, "good"]).ok(),
        "0 exited 0\n"
    );
    home.assert_nothing_left();
}

#[test]
fn a_vm_that_is_always_restarted_survives_its_vmm_and_ends_when_it_is_asked_to() {
    let home = Home::new();
    let flags = ["run", "-d", "--name", "web", "--restart", "always"];
    home.run([&flags[..], &[&home.image("busybox")], &WORK[..]].concat())
        .ok();
    let mut log = home.cli(["logs", "-f", "web"]).start();
    assert_eq!(log.line(), "ready");
    for vmm in Processes::of_this_test().vmms() {
        kill_process(vmm, Signal::KILL).unwrap();
    }
    assert_eq!(
        log.line(),
        "ready",
        "another life, after the VMM was killed"
    );
    home.run(["stop", "-t", "0", "web"]).ok();
    assert_eq!(status(&home, "web"), "exited");
    home.assert_nothing_left();

    // Between two lives, too.
    let image = home.image("busybox");
    home.run([
        "run",
        "-d",
        "--name",
        "brief",
        "--restart",
        "unless-stopped",
        &image,
        "true",
    ])
    .ok();
    assert_eq!(home.run(["wait", "brief"]).ok(), "0\n");
    home.run(["stop", "brief"]).ok();
    assert_eq!(status(&home, "brief"), "exited");
    home.assert_nothing_left();
}

#[test]
fn a_killed_supervisor_leaves_no_vmm_and_a_vm_that_starts_again() {
    let home = Home::new();
    let flags = ["run", "-d", "--name", "web", "--restart", "always"];
    home.run([&flags[..], &[&home.image("busybox")], &WORK[..]].concat())
        .ok();
    home.run(["exec", "web", "sh", "-c", "echo kept > /file; sync"])
        .ok();
    for supervisor in Processes::of_this_test().supervisors() {
        kill_process(supervisor, Signal::KILL).unwrap();
    }
    home.assert_nothing_left();
    assert_eq!(status(&home, "web"), "exited");
    home.run(["start", "web"]).ok();
    assert_eq!(home.run(["exec", "web", "cat", "/file"]).ok(), "kept\n");
    home.run(["rm", "-f", "web"]).ok();
    home.assert_nothing_left();
}

#[test]
fn what_cannot_be_restarted_or_named_is_refused() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run([&["run", "-d", "--rm", "--name", "gone", &image], &WORK[..]].concat())
        .ok();
    home.run(["create", "--name", "other", &image]).ok();
    for (words, said) in [
        (&["restart", "gone"][..], "--rm"),
        (&["rename", "gone", "other"], "in use"),
        (&["rename", "gone", "a b"], "not a name"),
        (&["start", "nobody"], "no such VM"),
        (&["run", "--restart", "always", &image], "needs -d"),
        (
            &["run", "-d", "--rm", "--restart", "always", &image],
            "--rm",
        ),
        (&["unpause", "gone"], "not paused"),
        (&["rmi", &image], "needed by the VM"),
    ] {
        let out = home.run(words);
        assert_eq!(out.code, 125, "{words:?}");
        assert!(out.stderr.contains(said), "{words:?}: {}", out.stderr);
    }
    home.run(["rm", "-f", "gone", "other"]).ok();
}

fn status(home: &Home, name: &str) -> String {
    let out = home.run(["inspect", "-f", "{{.State.Status}}", name]);
    out.ok().trim_end().to_owned()
}

#[test]
fn what_a_vm_was_made_with_it_has_in_every_life() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "echo life >> /data/lives; wc -l < /data/lives; ulimit -n; cat /proc/sys/vm/swappiness; touch /x; \
                  ls /sys/class/net | grep -c eth0; ip -4 -o addr show dev eth0 | wc -l; df -P /small | awk 'NR == 2 { print $2 }'";
    let flags = [
        "create",
        "--name",
        "vm1",
        "-v",
        "data:/data",
        "--read-only",
        "--ulimit",
        "nofile=77",
        "--sysctl",
        "vm.swappiness=33",
        "--network",
        "none",
        "--tmpfs",
        "/small:size=1m",
        &image,
        "sh",
        "-c",
        script,
    ];
    home.run(flags).ok();
    for life in ["1", "2", "3"] {
        let told = home.run(["start", "-a", "vm1"]);
        assert_eq!(told.ok(), format!("{life}\n77\n33\n1\n0\n1024\n"));
        assert!(
            told.stderr.contains("Read-only file system"),
            "{}",
            told.stderr
        );
    }
    home.run(["rm", "vm1"]).ok();
    home.run(["volume", "rm", "data"]).ok();
    home.assert_nothing_left();
}
