//! Mounts, volumes and secrets (point 9 of what a guest promises, and what `run` has for it).

use std::fs;
use testkit::Home;

/// Runs a script in a VM of its own and gives its output.
#[track_caller]
fn sh(home: &Home, flags: &[&str], script: &str) -> String {
    let image = home.image("busybox");
    let words = [&["run", "--rm"], flags, &[&image, "sh", "-ec", script]].concat();
    home.run(words).ok().to_owned()
}

#[test]
fn guest_09_mounts_names_and_kernel_parameters_are_as_asked() {
    let home = Home::new();
    let flags = "--tmpfs /new/place:size=1m --tmpfs /var:exec,mode=700 --mount type=tmpfs,dst=/m,tmpfs-size=2m,ro \
                 --read-only --shm-size 8m --sysctl net.core.somaxconn=77 --add-host db:10.1.2.3 --add-host six=[fd00::1] \
                 --dns 9.9.9.9 --dns-search x.example --dns-option ndots:2";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let script = "awk '$2 ~ /place|var|^\\/m$/ { print $2, $3, $4 }' /proc/mounts; stat -c %a /new/place /var; \
                  df /dev/shm | awk 'END { print $2 }'; cat /proc/sys/net/core/somaxconn /etc/resolv.conf; \
                  grep -E 'db|six' /etc/hosts; touch /tmp/x /run/x /new/place/x; touch /x 2>&1 || true";
    assert_eq!(
        sh(&home, &flags, script),
        "/m tmpfs ro,nosuid,nodev,noexec,relatime,size=2048k\n\
         /new/place tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k\n\
         /var tmpfs rw,nosuid,nodev,relatime,mode=700\n\
         1777\n700\n8192\n77\n\
         nameserver 198.19.0.1\nsearch x.example\noptions ndots:2\n\
         10.1.2.3\tdb\nfd00::1\tsix\n\
         touch: /x: Read-only file system\n"
    );
    for (flags, message) in [
        (
            ["--tmpfs", "/etc/passwd"],
            "make the mount point /etc/passwd: File exists",
        ),
        (
            ["--tmpfs", "/a:size=1z"],
            "mount a tmpfs on /a: Invalid argument",
        ),
        (
            ["--tmpfs", "/proc/x"],
            "nothing can be mounted on /proc/x: /proc is the kernel's",
        ),
        (
            ["--sysctl", "net.nope=1"],
            "set the kernel parameter net.nope to 1: No such file or directory",
        ),
        (
            ["-v", "/tmp:/x"],
            "-v /tmp:/x: directories of the host are not built yet",
        ),
        (
            ["--shm-size", "0"],
            "--shm-size 0: a size must be more than zero",
        ),
    ] {
        let image = home.image("busybox");
        let out = home.run([&["run", "--rm"], &flags[..], &[&image, "true"]].concat());
        assert!(
            out.code == 125 && out.stderr.contains(message),
            "{flags:?}: {}",
            out.stderr
        );
    }
    home.assert_nothing_left();
}

#[test]
fn guest_09_a_volume_outlives_its_vms_even_killed_ones_and_has_one_writer() {
    let home = Home::new();
    let image = home.image("busybox");
    // An empty volume gets what the image has there, with its owner and mode.
    assert_eq!(
        sh(&home, &["-v", "etc:/etc"], "ls /etc; stat -c %a /etc"),
        sh(&home, &[], "ls /etc; stat -c %a /etc")
    );
    assert_eq!(sh(&home, &["-v", "bare:/etc:nocopy"], "ls -A /etc"), "");

    home.run([
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "data:/deep/place",
        &image,
        "sleep",
        "1000",
    ])
    .ok();
    home.run([
        "exec",
        "one",
        "sh",
        "-c",
        "ls -A /deep/place; echo kept > /deep/place/f; sync",
    ])
    .ok();
    for flag in ["data:/x", "data:/x:ro"] {
        let out = home.run(["run", "--rm", "-v", flag, &image, "true"]);
        assert!(
            out.code == 125 && out.stderr.contains("the volume data is in use by one"),
            "{}",
            out.stderr
        );
    }
    let out = home.run(["snapshot", "create", "one"]);
    assert!(
        out.stderr.contains("a VM with volumes cannot be copied"),
        "{}",
        out.stderr
    );
    let out = home.run(["fork", "one"]);
    assert!(
        out.stderr.contains("a VM with volumes cannot be copied"),
        "{}",
        out.stderr
    );
    home.run(["kill", "one"]).ok();
    let out = home.run(["volume", "rm", "data"]);
    assert!(
        out.stderr.contains("the volume data belongs to one"),
        "{}",
        out.stderr
    );
    home.run(["rm", "-f", "one"]).ok();

    assert_eq!(
        sh(&home, &["-v", "data:/d"], "cat /d/f; echo more >> /d/f"),
        "kept\n"
    );
    // One after the other, without a pause; readers may come at the same time, and root inside cannot write either.
    home.run([
        "run",
        "-d",
        "--name",
        "reader",
        "-v",
        "data:/d:ro",
        &image,
        "sleep",
        "1000",
    ])
    .ok();
    let script = "cat /d/f; touch /d/g || echo x > /dev/vdc || true";
    assert_eq!(sh(&home, &["-v", "data:/d:ro"], script), "kept\nmore\n");
    home.run(["rm", "-f", "reader"]).ok();
    assert_eq!(
        sh(&home, &["-v", "data:/d"], "cat /d/f; ls /d"),
        "kept\nmore\nf\n"
    );

    assert_eq!(
        home.run(["volume", "create", "--size", "64M", "small"])
            .ok(),
        "small\n"
    );
    let full = sh(
        &home,
        &["-v", "small:/s"],
        "dd if=/dev/zero of=/s/f bs=1M count=100 2>&1 | grep -c 'No space'",
    );
    assert_eq!(full, "1\n");
    assert_eq!(
        home.run(["volume", "ls", "-q"]).ok(),
        "bare\ndata\netc\nsmall\n"
    );
    let out = home.run(["volume", "prune"]);
    assert!(
        out.code == 125 && out.stderr.contains("--all"),
        "{}",
        out.stderr
    );
    assert_eq!(home.run(["volume", "rm", "data"]).ok(), "data\n");
    assert_eq!(
        home.run(["volume", "prune", "--all"]).ok(),
        "bare\netc\nsmall\n"
    );
    home.assert_nothing_left();
}

#[test]
fn secrets_are_files_for_their_user_alone_and_in_no_file_of_ours() {
    let home = Home::new();
    let image = home.image("busybox");
    let path = home.scratch().join("key");
    fs::write(&path, "swordfish-in-a-file").unwrap();
    let from_file = format!("key=file:{}", path.display());
    let flags = [
        "--secret",
        &from_file,
        "--secret",
        "token=env:TOKEN",
        "-u",
        "1000:1000",
    ];
    let words = [
        &["run", "-d", "--name", "vm"],
        &flags[..],
        &[&image, "sleep", "1000"],
    ]
    .concat();
    let started = home
        .cli(words)
        .env("TOKEN", "swordfish-in-a-variable")
        .output();
    assert_eq!(started.code, 0, "{}", started.stderr);
    let look = "cd /run/secrets; stat -c '%n %a %u' *; cat key; echo; cat token; echo; env | grep -c swordfish || true; touch x || true";
    let seen = home.run(["exec", "vm", "sh", "-c", look]);
    assert_eq!(
        seen.ok(),
        "key 400 1000\ntoken 400 1000\nswordfish-in-a-file\nswordfish-in-a-variable\n0\n"
    );
    assert_ne!(
        home.run(["exec", "-u", "1001", "vm", "cat", "/run/secrets/key"])
            .code,
        0
    );
    let out = home.run(["snapshot", "create", "vm"]);
    assert!(
        out.code == 125 && out.stderr.contains("a VM with secrets cannot be copied"),
        "{}",
        out.stderr
    );
    // Nothing the home has on its disk has a word of it: record, log, template, console.
    let grep = std::process::Command::new("grep")
        .args(["-rl", "swordfish"])
        .arg(home.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    home.run(["rm", "-f", "vm"]).ok();

    let out = home.run(["run", "--rm", "--secret", "a=file:/nope", &image, "true"]);
    assert!(
        out.code == 125 && out.stderr.contains("cannot read the secret a from /nope"),
        "{}",
        out.stderr
    );
    home.assert_nothing_left();
}
