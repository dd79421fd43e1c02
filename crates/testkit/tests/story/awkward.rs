//! The awkward image inside a VM against what other tools say it is.

use std::collections::BTreeMap;
use std::process::Command;
use testkit::{Home, skopeo, target, umoci_unpack};

/// What the guest itself changes: mount points, files it writes, and the directories they are in.
const OF_THE_GUEST: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "etc",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "srv",
    "srv/not\\x20there",
    "srv/not\\x20there/yet",
];

fn looks_as_umoci_unpacks_it(image: &str) {
    let home = Home::new();
    let bundle = home.scratch().join("bundle");
    umoci_unpack(&target::image(image), &bundle);
    let testbox = bundle.join("rootfs/bin/testbox");
    let outside = Command::new(testbox)
        .arg("tree")
        .arg(bundle.join("rootfs"))
        .output()
        .unwrap();
    let inside = home.run([
        "run",
        "--rm",
        "-u",
        "0",
        "-w",
        "/",
        &home.image(image),
        "tree",
        "/",
    ]);
    let (inside, outside) = (
        entries(inside.ok()),
        entries(std::str::from_utf8(&outside.stdout).unwrap()),
    );
    assert!(
        outside.len() > 300,
        "umoci unpacked {} entries",
        outside.len()
    );
    for (path, line) in &outside {
        assert_eq!(inside.get(path), Some(line), "{path}");
    }
    let more: Vec<_> = inside
        .keys()
        .filter(|path| !outside.contains_key(*path))
        .collect();
    assert!(more.is_empty(), "only inside: {more:?}");
}

fn entries(tree: &str) -> BTreeMap<&str, &str> {
    let all = tree
        .lines()
        .map(|line| (line.split(' ').next().unwrap(), line));
    all.filter(|(path, _)| {
        !OF_THE_GUEST.contains(path)
            && !["dev/", "proc/", "sys/", "run/", "tmp/"]
                .iter()
                .any(|dir| path.starts_with(dir))
    })
    .collect()
}

#[test]
fn guest_07_six_awkward_layers_look_inside_as_umoci_unpacks_them() {
    looks_as_umoci_unpacks_it("awkward");
}

#[test]
fn guest_07_a_hundred_layers_more_look_inside_as_umoci_unpacks_them() {
    looks_as_umoci_unpacks_it("tiny-layers");
}

#[test]
fn guest_11_command_user_directory_and_environment_are_what_skopeo_says() {
    let home = Home::new();
    let config = skopeo([
        "inspect",
        "--config",
        &format!("oci:{}:latest", target::image("awkward").display()),
    ]);
    assert!(
        config.contains("worker:crew") && config.contains("/srv/not there/yet"),
        "{config}"
    );
    let command = home.run(["run", "--rm", &home.image("awkward")]);
    assert_eq!(command.ok(), "two words\n\\\"quoted\\\"\n\nline\\nbreak\n");
    let who = home.run(["run", "--rm", &home.image("awkward"), "whoami"]);
    assert_eq!(
        who.ok(),
        "uid=1234 gid=2345 groups=[] cwd=/srv/not there/yet\n"
    );
    // As with Docker, naming a group drops the others a user is in.
    let member = home.run([
        "run",
        "--rm",
        "-u",
        "worker",
        &home.image("awkward"),
        "whoami",
    ]);
    assert_eq!(
        member.ok(),
        "uid=1234 gid=1234 groups=[3456] cwd=/srv/not there/yet\n"
    );
}

#[test]
fn every_byte_of_the_environment_arrives() {
    let home = Home::new();
    let out = home.run(["run", "--rm", &home.image("awkward"), "env"]);
    let environment: Vec<&str> = out.ok().lines().collect();
    for expected in [
        "SPACES=one two  three ",
        "QUOTES=she said \\\"it\\'s\\\" `fine` $HOME \\\\",
        "LINES=first\\nsecond\\n\\nfourth",
        "EMPTY=",
        "UNICODE=na\\xc3\\xafve \\xe2\\x98\\x83",
    ] {
        assert!(
            environment.contains(&expected),
            "{expected} in {environment:#?}"
        );
    }
}
