//! Snapshots as one file, from one host to another.

use crate::snapshots::{count, counter, flip, remove_all, snapshots};
use rustix::process::Signal;
use snapshot::Digest;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use testkit::{Home, Registry, Running, skopeo};

/// A snapshot of a VM that has counted to 1, and nothing else; and the file it was exported to.
fn exported(home: &Home) -> PathBuf {
    counter(home, "v1");
    assert_eq!(count(home, "v1"), 1);
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    remove_all(home);
    let file = home.scratch().join("s1.snapshot");
    assert_eq!(export(home, "s1", &file), "");
    file
}

fn export(home: &Home, name: &str, file: &std::path::Path) -> String {
    let out = home.run(["snapshot", "export", name, file.to_str().unwrap()]);
    out.ok().to_owned()
}

#[test]
fn an_exported_snapshot_of_a_copy_counts_on_under_another_name() {
    let home = Home::new();
    exported(&home);
    home.run(["run", "-d", "--snapshot", "s1", "--name", "v2"])
        .ok();
    let written = "echo kept > /file; echo shared > /dev/shm/file";
    home.run(["exec", "v2", "sh", "-c", written]).ok();
    assert_eq!(count(&home, "v2"), 2);
    home.run(["snapshot", "create", "v2", "--name", "s2"]).ok();
    remove_all(&home);
    let file = home.scratch().join("s2.snapshot");
    export(&home, "s2", &file);
    let piped = home.run(["snapshot", "export", "s2", "-"]);
    assert!(piped.code == 0 && piped.stdout == fs::read(&file).unwrap());
    home.run(["snapshot", "rm", "s2", "s1"]).ok();
    assert!(snapshots(&home).is_empty());

    let import = ["snapshot", "import", "--name", "again"];
    let path = file.to_str().unwrap();
    let imported = home.run(import.into_iter().chain([path]));
    assert_eq!((imported.ok(), imported.stderr.as_str()), ("again\n", ""));
    fs::remove_file(&file).unwrap();
    home.run(["snapshot", "verify", "again"]).ok();
    home.run(["run", "-d", "--snapshot", "again", "--name", "v3"])
        .ok();
    assert_eq!(count(&home, "v3"), 3);
    let out = home.run(["exec", "v3", "cat", "/file", "/dev/shm/file"]);
    assert_eq!(out.ok(), "kept\nshared\n");
    // Under the name it had, from a pipe.
    let imported = home
        .cli(["snapshot", "import", "-"])
        .output_with_input(&piped.stdout);
    assert_eq!(imported.ok(), "s2\n");
    let taken = home
        .cli(["snapshot", "import", "-"])
        .output_with_input(&piped.stdout);
    assert!(taken.stderr.contains("s2 is in use"), "{}", taken.stderr);
    remove_all(&home);
}

#[test]
fn where_the_image_is_not_an_import_and_a_start_say_what_to_pull() {
    let here = Home::new();
    let file = exported(&here);
    let there = Home::new();
    let image = there.image("busybox");
    let pull = format!("`supermachine pull {image}`");
    let imported = there.run(["snapshot", "import", file.to_str().unwrap()]);
    assert_eq!(imported.ok(), "s1\n");
    let inspected = there.run(["snapshot", "inspect", "s1"]);
    let started = there.run(["run", "-d", "--snapshot", "s1"]);
    assert_eq!((inspected.code, started.code), (0, 125));
    for out in [imported, inspected, started] {
        assert!(out.stderr.contains("not in the store"), "{}", out.stderr);
        assert!(out.stderr.contains(&pull), "{}", out.stderr);
    }
    there.run(["pull", &image]).ok();
    assert_eq!(there.run(["snapshot", "inspect", "s1"]).stderr, "");
    there
        .run(["run", "-d", "--snapshot", "s1", "--name", "v2"])
        .ok();
    assert_eq!(count(&there, "v2"), 2);
    remove_all(&there);
}

#[test]
fn a_flipped_bit_or_a_missing_end_is_refused_and_nothing_is_left() {
    let home = Home::new();
    let file = exported(&home);
    home.run(["snapshot", "rm", "s1"]).ok();
    let path = file.to_str().unwrap();
    let length = fs::metadata(&file).unwrap().len();
    flip(&file, length / 2);
    let out = home.run(["snapshot", "import", path]);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("memory"), "{}", out.stderr);
    assert!(snapshots(&home).is_empty());
    flip(&file, length / 2);
    let truncated = home.scratch().join("truncated");
    for end in [0, 100, length / 3, length - 1] {
        fs::copy(&file, &truncated).unwrap();
        let copy = fs::File::options().write(true).open(&truncated).unwrap();
        copy.set_len(end).unwrap();
        let out = home.run(["snapshot", "import", truncated.to_str().unwrap()]);
        assert_eq!(out.code, 125, "{end}");
        let told = out.stderr.contains("truncated") || out.stderr.contains("no exported snapshot");
        assert!(told, "{end}: {}", out.stderr);
        assert!(snapshots(&home).is_empty(), "{end}");
    }
    assert_eq!(home.run(["snapshot", "import", path]).ok(), "s1\n");
}

#[test]
fn without_room_neither_an_export_nor_an_import_leaves_anything() {
    let home = Home::with_disk_of(128 << 20);
    let file = exported(&home);
    let filler = home.path().join("filler");
    let fill = || {
        let room = rustix::fs::statvfs(home.path()).unwrap();
        let free = room.f_bavail * room.f_frsize;
        fs::write(&filler, vec![1; (free - (1 << 20)) as usize]).unwrap();
    };
    fill();
    let target = home.path().join("target");
    let names = fs::read_dir(home.path()).unwrap().count();
    let out = home.run(["snapshot", "export", "s1", target.to_str().unwrap()]);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("No space left"), "{}", out.stderr);
    assert!(!target.exists());
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), names);
    let import = ["snapshot", "import", "--name", "s2", file.to_str().unwrap()];
    let out = home.run(import);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("No space left"), "{}", out.stderr);
    assert_eq!(snapshots(&home).len(), 1);
    fs::remove_file(filler).unwrap();
    home.run(import).ok();
    home.run(["snapshot", "verify", "s1", "s2"]).ok();
}

#[test]
fn killed_at_any_point_an_export_or_an_import_leaves_all_or_nothing() {
    let home = Home::new();
    let file = exported(&home);
    let directory = home.scratch().join("exports");
    fs::create_dir(&directory).unwrap();
    let target = directory.join("target");
    let export = ["snapshot", "export", "s1", target.to_str().unwrap()];
    let import = ["snapshot", "import", "--name", "s2", file.to_str().unwrap()];
    for milliseconds in [1, 10, 30, 100, 200, 400] {
        let done = killed_after(milliseconds, home.cli(export).start());
        let left: Vec<_> = fs::read_dir(&directory).unwrap().collect();
        assert_eq!(left.len(), usize::from(target.exists()));
        assert!(!done || target.exists());
        if target.exists() {
            assert!(fs::read(&target).unwrap() == fs::read(&file).unwrap());
            fs::remove_file(&target).unwrap();
        }
        let done = killed_after(milliseconds, home.cli(import).start());
        let listed = home.run(["snapshot", "ls", "-q"]).ok().to_owned();
        assert!(!done || listed.contains("s2\n"), "{listed}");
        if listed.contains("s2\n") {
            home.run(["snapshot", "verify", "s2"]).ok();
            home.run(["snapshot", "rm", "s2"]).ok();
        }
        home.run(["prune"]).ok();
        assert_eq!(snapshots(&home).len(), 1);
    }
}

/// Kills a command, wherever it is by then. Whether it had finished.
fn killed_after(milliseconds: u64, running: Running) -> bool {
    if !running.ends_within(Duration::from_millis(milliseconds)) {
        running.signal(Signal::KILL);
    }
    running.finish().code == 0
}

#[test]
fn a_snapshot_goes_through_a_registry_to_another_host() {
    let registry = Registry::start();
    let name = format!("{}/team/counter:at-1", registry.address());
    let here = Home::new();
    exported(&here);
    let digest = here
        .run(["snapshot", "push", "s1", &name])
        .ok()
        .trim()
        .to_owned();
    // The same again, of which nothing has to be sent.
    assert_eq!(
        here.run(["snapshot", "push", "s1", &name]).ok().trim(),
        digest
    );
    // What others see.
    let raw = skopeo([
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{name}"),
    ]);
    let manifest: serde_json::Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(
        manifest["artifactType"],
        "application/vnd.supermachine.snapshot.v1"
    );
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(Digest::of(raw.as_bytes()).to_string(), digest);

    let there = Home::new();
    let image = there.image("busybox");
    there.run(["pull", &image]).ok();
    let by_digest = format!("{}/team/counter@{digest}", registry.address());
    let pulled = there.run(["snapshot", "pull", &by_digest]);
    assert_eq!((pulled.ok(), pulled.stderr.as_str()), ("s1\n", ""));
    there.run(["snapshot", "pull", &name, "--name", "s2"]).ok();
    for (snapshot, vm) in [("s1", "v1"), ("s2", "v2")] {
        there.run(["snapshot", "verify", snapshot]).ok();
        there
            .run(["run", "-d", "--snapshot", snapshot, "--name", vm])
            .ok();
        assert_eq!(count(&there, vm), 2);
    }
    remove_all(&there);
}

#[test]
fn what_is_no_snapshot_or_not_there_or_damaged_is_refused_and_nothing_is_left() {
    let registry = Registry::start();
    let home = Home::new();
    exported(&home);
    let image = registry.push("busybox");
    let refused = |words: &[&str], told: &str| {
        let out = home.run(words);
        assert_eq!(out.code, 125, "{words:?}");
        assert!(out.stderr.contains(told), "{words:?}: {}", out.stderr);
        assert_eq!(snapshots(&home).len(), 1);
    };
    refused(
        &["snapshot", "pull", &image],
        "is no application/vnd.supermachine.snapshot.v1",
    );
    let absent = format!("{}/no/such:thing", registry.address());
    refused(&["snapshot", "pull", &absent], "no/such:thing");
    refused(
        &["snapshot", "pull", "oci:dir"],
        "not a place in a registry",
    );
    refused(
        &["snapshot", "push", "s1", "rootfs:/"],
        "not a place in a registry",
    );
    refused(&["snapshot", "push", "s2", &absent], "s2");
    refused(
        &["snapshot", "push", "s1", "127.0.0.1:1/a/b:c"],
        "cannot reach",
    );
    let name = format!("{}/team/counter:at-1", registry.address());
    home.run(["snapshot", "push", "s1", &name]).ok();
    refused(&["snapshot", "pull", &name], "s1 is in use");
    registry.damage_largest_blob();
    refused(&["snapshot", "pull", &name, "--name", "s2"], "snapshot");
    // No file without a name stays open, no temporary one stays.
    let left = fs::read_dir(home.path().join("snapshots")).unwrap().count();
    home.run(["snapshot", "rm", "s1"]).ok();
    assert!(left <= 2, "{left}");
}
