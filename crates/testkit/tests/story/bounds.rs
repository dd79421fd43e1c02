//! What a workload may have, and what it does with it under stress.

use testkit::Home;

#[test]
fn limits_hold_for_the_workload_and_for_execs() {
    let home = Home::new();
    let flags = [
        "run",
        "-d",
        "--name",
        "web",
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=0",
        "--pids-limit",
        "20",
        "--cpus",
        "0.5",
        "--group-add",
        "27",
        "--privileged",
        "--cap-add",
        "ALL",
    ];
    let show = "ulimit -Sn; ulimit -Hn; ulimit -c; id -G; cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max";
    let work = format!("{show}; echo ready; while true; do sleep 1; done");
    let image = home.image("busybox");
    home.run([&flags[..], &[&image, "sh", "-c", &work]].concat())
        .ok();
    let mut log = home.cli(["logs", "-f", "web"]).start();
    let expected = ["100", "200", "0", "0 27", "20", "50000 100000"];
    for line in expected.iter().chain(&["ready"]) {
        assert_eq!(log.line(), *line);
    }
    let inside = home.run(["exec", "web", "sh", "-c", show]);
    assert_eq!(inside.ok().lines().collect::<Vec<_>>(), expected);
    // One fork too many is refused inside, and the VM goes on.
    let bomb = "for n in $(seq 50); do sleep 100 & done 2>&1 | head -1";
    assert!(
        home.run(["exec", "web", "sh", "-c", bomb])
            .text()
            .contains("fork")
    );
    home.run(["rm", "-f", "web"]).ok();

    for (flag, value, said) in [
        ("--ulimit", "nofile=2:1", "--ulimit"),
        ("--pids-limit", "many", "--pids-limit"),
        ("--cpus", "0", "--cpus"),
        ("--group-add", "nobody-knows", "nobody-knows"),
        (
            "--cap-drop",
            "ALL",
            "--cap-drop is not built yet\nhint: a workload has every capability",
        ),
        ("--oom-score-adj", "1", "--oom-score-adj is not built yet"),
    ] {
        let out = home.run(["run", "--rm", flag, value, &image, "true"]);
        assert!(out.code == 125 || out.code == 126, "{flag}: {}", out.code);
        assert!(out.stderr.contains(said), "{flag}: {}", out.stderr);
    }
}

/// 2,000 in all, each a process of its own memory: 1.8 ms on software KVM.
#[test]
fn guest_13_thousands_of_short_children_leave_no_zombie_and_lose_no_status() {
    let home = Home::new();
    let image = home.image("busybox");
    // Children of its own with a status each, and orphans that only PID 1 can reap.
    let work = "n=0; while [ $n -lt 1000 ]; do n=$((n+1)); ( (exit 0) & exit $((n%7)) ); \
                [ $? = $((n%7)) ] || exit 9; done; \
                z=1; while [ $z != 0 ]; do z=$(grep -c '^State:.Z' /proc/[0-9]*/status | grep -vc ':0$'); done; exit 3";
    let out = home.run(["run", "--rm", &image, "sh", "-c", work]);
    assert_eq!(out.code, 3, "{}", out.stderr);
    home.assert_nothing_left();
}

/// The controllers are delegated. Who wants to use them moves what runs out of the way first, as dockerd does.
#[test]
fn guest_02_a_workload_makes_cgroups_with_limits_of_their_own_and_namespaces_in_namespaces() {
    let home = Home::new();
    let work = r#"
        cd /sys/fs/cgroup && mkdir own leaf
        for p in $(cat cgroup.procs); do echo $p > leaf/cgroup.procs; done 2>/dev/null
        for c in $(cat cgroup.controllers); do echo +$c; done | tr '\n' ' ' > cgroup.subtree_control || exit 8
        echo 8 > own/pids.max && echo 16777216 > own/memory.max || exit 9
        sh -c 'echo $$ > own/cgroup.procs; cat /proc/self/cgroup; tail /dev/zero; echo $?'
        awk '/^oom_kill / { print $2 }' own/memory.events
        unshare -m -p -f -u -i sh -c 'mount -t proc proc /proc && echo $$ && hostname inner && hostname'
        unshare -pf --mount-proc sh -c 'set -- /proc/[0-9]*; echo $$ $#'
        unshare -Ur -m sh -c 'id -u; mount -t tmpfs none /tmp && unshare -Ur -n id -u'
        hostname
    "#;
    let image = home.image("busybox");
    let out = home.run([
        "run",
        "--rm",
        "--hostname",
        "outer",
        &image,
        "sh",
        "-c",
        work,
    ]);
    let lines: Vec<_> = out.ok().lines().collect();
    let expected = [
        "0::/own", "137", "1", "1", "inner", "1 1", "0", "0", "outer",
    ];
    assert_eq!(lines, expected, "{}", out.stderr);
}
