//! Snapshots and forks of running VMs.

use rustix::process::{Signal, kill_process};
use snapshot::Digest;
use snapshot::manifest::Manifest;
use snapshot::state::{State, StateWriter};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::{Home, Processes};

/// A workload that counts in its own memory: each word written to /in gives the next number from /out.
const COUNTER: &str = "mkfifo /in /out; echo ready; i=0; \
                       while true; do read x < /in; i=$((i + 1)); echo $i > /out; done";

/// A VM that counts.
pub fn counter(home: &Home, name: &str) {
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", name, &image, "sh", "-c", COUNTER])
        .ok();
    let made = "until [ -p /out ]; do usleep 1000; done";
    home.run(["exec", name, "sh", "-c", made]).ok();
}

/// The next number.
pub fn count(home: &Home, vm: &str) -> u32 {
    let out = home.run(["exec", vm, "sh", "-c", "echo next > /in; cat /out"]);
    out.ok().trim().parse().unwrap()
}

fn identity(home: &Home, vm: &str) -> Vec<String> {
    let script = "cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/hostname /etc/hostname; \
                  head -c 16 /dev/urandom | od -An -tx1";
    let out = home.run(["exec", vm, "sh", "-c", script]);
    out.ok().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_strangers(a: &[String], b: &[String]) {
    assert_eq!((a.len(), b.len()), (4, 4));
    for (a, b) in a.iter().zip(b) {
        assert_ne!(a, b);
    }
}

pub fn remove_all(home: &Home) {
    let names = home.run(["ps", "-a", "-q"]);
    let names: Vec<_> = names.ok().lines().map(str::to_owned).collect();
    let words = ["rm", "-f"].map(str::to_owned);
    home.run(words.into_iter().chain(names)).ok();
    home.assert_nothing_left();
}

/// Directories of snapshots, half-made ones too.
pub fn snapshots(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path().join("snapshots")).unwrap();
    let dirs = entries.map(|entry| entry.unwrap().path());
    dirs.filter(|path| path.is_dir()).collect()
}

#[test]
fn a_copy_counts_on_from_where_the_snapshot_was_made_and_so_does_the_original() {
    let home = Home::new();
    counter(&home, "original");
    assert_eq!(count(&home, "original"), 1);
    home.run(["exec", "original", "sh", "-c", "echo before > /file"])
        .ok();
    assert_eq!(
        home.run(["snapshot", "create", "original", "--name", "at-1"])
            .ok(),
        "at-1\n"
    );
    home.run(["exec", "original", "sh", "-c", "echo after > /file"])
        .ok();
    assert_eq!(count(&home, "original"), 2);
    for name in ["a1", "b1"] {
        let out = home.run(["run", "-d", "--snapshot", "at-1", "--name", name]);
        assert_eq!(out.ok(), format!("{name}\n"));
        assert_eq!(home.run(["exec", name, "cat", "/file"]).ok(), "before\n");
        assert_eq!((count(&home, name), count(&home, name)), (2, 3));
    }
    assert_eq!(count(&home, "original"), 3);
    let [original, a, b] = ["original", "a1", "b1"].map(|name| identity(&home, name));
    assert_strangers(&original, &a);
    assert_strangers(&a, &b);
    remove_all(&home);
}

#[test]
fn a_snapshot_of_a_copy_builds_upon_its_snapshot_which_stays_until_nobody_needs_it() {
    let home = Home::new();
    counter(&home, "v1");
    home.run(["snapshot", "create", "v1", "--name", "base"])
        .ok();
    home.run(["run", "-d", "--snapshot", "base", "--name", "v2"])
        .ok();
    assert_eq!(count(&home, "v2"), 1);
    home.run(["snapshot", "create", "v2", "--name", "next"])
        .ok();
    remove_all(&home);

    let refused = home.run(["snapshot", "rm", "base"]);
    assert_eq!(refused.code, 125);
    assert!(
        refused.stderr.contains("is the base of next"),
        "{}",
        refused.stderr
    );
    let refused = home.run(["rmi", &home.image("busybox")]);
    assert!(
        refused.stderr.contains("needed by the snapshot base, next"),
        "{}",
        refused.stderr
    );
    home.run(["prune"]).ok();

    assert_eq!(home.run(["snapshot", "ls", "-q"]).ok(), "base\nnext\n");
    home.run(["snapshot", "verify", "base", "next"]).ok();
    home.run(["run", "-d", "--snapshot", "next", "--name", "v3"])
        .ok();
    assert_eq!(count(&home, "v3"), 2);
    remove_all(&home);
    assert_eq!(
        home.run(["snapshot", "rm", "next", "base"]).ok(),
        "next\nbase\n"
    );
    home.run(["rmi", &home.image("busybox")]).ok();
    assert!(snapshots(&home).is_empty());
}

#[test]
fn a_command_runs_beside_the_workload_of_a_snapshot_and_ends_the_vm() {
    let home = Home::new();
    counter(&home, "v1");
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    let script = "echo next > /in; cat /out; echo $A >&2; exit 7";
    let out = home.run([
        "run",
        "--rm",
        "--snapshot",
        "s1",
        "-e",
        "A=b",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(
        (out.text(), out.stderr.as_str(), out.code),
        ("1\n", "b\n", 7)
    );
    assert_eq!(home.run(["ps", "-a", "-q"]).ok(), "v1\n");
    remove_all(&home);
}

#[test]
fn run_stays_with_the_workload_of_a_snapshot_and_has_its_output_and_exit_code() {
    let home = Home::new();
    let script =
        "mkfifo /go /end; echo ready > /ready; read x < /go; echo went; read x < /end; exit 5";
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "v1", &image, "sh", "-c", script])
        .ok();
    let made = "until [ -s /ready ]; do usleep 1000; done";
    home.run(["exec", "v1", "sh", "-c", made]).ok();
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    let run = home
        .cli(["run", "--rm", "--snapshot", "s1", "--name", "v2"])
        .start();
    loop {
        let out = home.run(["exec", "v2", "sh", "-c", "echo x > /go"]);
        if out.code == 0 {
            break;
        }
        assert!(
            !run.ends_within(Duration::from_millis(20)),
            "{}",
            out.stderr
        );
    }
    // The VM may be gone before this has ended.
    home.run(["exec", "v2", "sh", "-c", "echo x > /end"]);
    let out = run.finish();
    assert_eq!((out.text(), out.code), ("went\n", 5), "{}", out.stderr);
    remove_all(&home);
}

#[test]
fn a_flipped_bit_is_named_by_verify_and_a_damaged_state_is_not_restored() {
    let home = Home::new();
    counter(&home, "v1");
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    let dir = home.path().join("snapshots/s1");
    for name in ["manifest.json", "state", "memory", "scratch.ext4"] {
        let path = dir.join(name);
        let at = first_data(&path);
        flip(&path, at);
        let out = home.run(["snapshot", "verify", "s1"]);
        assert_eq!(out.code, 125, "{name}");
        assert!(out.stderr.contains(name), "{name}: {}", out.stderr);
        if name == "state" || name == "manifest.json" {
            let out = home.run(["run", "--rm", "--snapshot", "s1", "true"]);
            assert_eq!(out.code, 125, "{name}: {}", out.text());
        }
        flip(&path, at);
        home.run(["snapshot", "verify", "s1"]).ok();
    }
    assert_eq!(count(&home, "v1"), 1);
    remove_all(&home);
}

/// Somewhere in the middle of the first megabyte that is not a hole.
fn first_data(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    let start = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).unwrap();
    let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).unwrap();
    start + (end - start).min(1 << 20) / 2
}

pub fn flip(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_snapshot_without_room_leaves_nothing_and_the_vm_goes_on() {
    let home = Home::with_disk_of(96 << 20);
    counter(&home, "v1");
    let filler = home.path().join("filler");
    let room = rustix::fs::statvfs(home.path()).unwrap();
    let free = room.f_bavail * room.f_frsize;
    fs::write(&filler, vec![1; (free - (1 << 20)) as usize]).unwrap();
    let out = home.run(["snapshot", "create", "v1", "--name", "s1"]);
    assert_eq!(out.code, 125);
    assert!(out.stderr.contains("No space left"), "{}", out.stderr);
    assert!(snapshots(&home).is_empty());
    assert_eq!(count(&home, "v1"), 1);
    fs::remove_file(filler).unwrap();
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    home.run(["snapshot", "verify", "s1"]).ok();
    remove_all(&home);
}

#[test]
fn a_vmm_or_a_supervisor_killed_at_any_point_of_a_snapshot_leaves_a_whole_one_or_none() {
    let home = Home::new();
    for (round, milliseconds) in (0..=60).step_by(6).enumerate() {
        counter(&home, "v1");
        let create = home
            .cli(["snapshot", "create", "v1", "--name", "s1"])
            .start();
        // Wherever it is by then; it may have finished.
        create.ends_within(Duration::from_millis(milliseconds));
        let processes = Processes::of_this_test();
        let victims = if round % 2 == 0 {
            processes.vmms()
        } else {
            processes.supervisors()
        };
        for victim in victims {
            kill_process(victim, Signal::KILL).unwrap();
        }
        let created = create.finish().code == 0;
        home.assert_nothing_runs();
        home.run(["rm", "-f", "v1"]).ok();
        let listed = home.run(["snapshot", "ls", "-q"]);
        assert!(!created || listed.ok() == "s1\n", "{}", listed.text());
        if listed.ok() == "s1\n" {
            home.run(["snapshot", "verify", "s1"]).ok();
            home.run(["snapshot", "rm", "s1"]).ok();
        }
        home.run(["prune"]).ok();
        assert!(snapshots(&home).is_empty());
    }
    home.assert_nothing_left();
}

#[test]
fn a_name_is_given_to_one_snapshot_and_cannot_leave_the_directory() {
    let home = Home::new();
    counter(&home, "v1");
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    for (name, told) in [
        ("s1", "in use"),
        ("../s1", "not a name"),
        (".lock", "not a name"),
    ] {
        let out = home.run(["snapshot", "create", "v1", "--name", name]);
        assert_eq!(out.code, 125);
        assert!(out.stderr.contains(told), "{name}: {}", out.stderr);
    }
    for words in [["snapshot", "rm", "nope"], ["snapshot", "inspect", "nope"]] {
        let out = home.run(words);
        assert!(
            out.stderr.contains("no such snapshot: nope"),
            "{}",
            out.stderr
        );
    }
    let made_up = home.run(["snapshot", "create", "v1"]);
    let json: serde_json::Value =
        serde_json::from_str(home.run(["snapshot", "inspect", made_up.ok().trim()]).ok()).unwrap();
    assert_eq!(json["snapshot"]["memory_mib"], 512);
    remove_all(&home);
}

#[test]
fn forks_count_on_each_for_itself_and_so_do_forks_of_forks() {
    let home = Home::new();
    counter(&home, "parent");
    assert_eq!(count(&home, "parent"), 1);
    let names = home.run(["fork", "parent", "-n", "3"]);
    let children: Vec<_> = names.ok().lines().collect();
    assert_eq!(children.len(), 3);
    for child in &children {
        assert_eq!(count(&home, child), 2);
    }
    home.run(["exec", children[0], "sh", "-c", "echo mine > /file"])
        .ok();
    assert_eq!(home.run(["exec", children[1], "cat", "/file"]).code, 1);
    assert_eq!(count(&home, "parent"), 2);
    let names = home.run(["fork", children[0]]);
    let grandchild = names.ok().trim();
    home.run(["rm", "-f", children[0]]).ok();
    assert_eq!(count(&home, grandchild), 3);
    assert_eq!(
        home.run(["exec", grandchild, "cat", "/file"]).ok(),
        "mine\n"
    );
    let identities: Vec<_> = ["parent", children[1], children[2], grandchild]
        .iter()
        .map(|name| identity(&home, name))
        .collect();
    for (index, identity) in identities.iter().enumerate() {
        for other in &identities[..index] {
            assert_strangers(identity, other);
        }
    }
    remove_all(&home);
}

#[test]
fn a_snapshot_of_a_fork_holds_what_both_wrote() {
    let home = Home::new();
    counter(&home, "parent");
    let keep = "head -c 8000000 /dev/urandom > /dev/shm/a; sha256sum < /dev/shm/a";
    let before = home.run(["exec", "parent", "sh", "-c", keep]);
    let names = home.run(["fork", "parent"]);
    let child = names.ok().trim().to_owned();
    let more = "head -c 3000000 /dev/urandom > /dev/shm/b; sha256sum < /dev/shm/b";
    let after = home.run(["exec", &child, "sh", "-c", more]);
    home.run(["snapshot", "create", &child, "--name", "s1"])
        .ok();
    let script = "sha256sum < /dev/shm/a; sha256sum < /dev/shm/b";
    let out = home.run(["run", "--rm", "--snapshot", "s1", "sh", "-c", script]);
    assert_eq!(out.ok(), format!("{}{}", before.ok(), after.ok()));
    remove_all(&home);
}

/// Makes a snapshot one of a host that has been up for 2^44 ticks more, some hours, than this one when it was made.
fn of_another_host(dir: &Path) {
    const MSRS: &str = "x86_64/kvm/vcpu0/msrs";
    const TSC: u32 = 0x10;
    const TSC_DEADLINE: u32 = 0x6e0;
    let state = fs::read(dir.join("state")).unwrap();
    let sections = State::parse(&state).unwrap();
    let mut msrs: Vec<(u32, u64)> = sections.get(MSRS, 1).unwrap();
    let mut moved = 0;
    for (index, value) in &mut msrs {
        if *index == TSC || (*index == TSC_DEADLINE && *value != 0) {
            *value += 1 << 44;
            moved += 1;
        }
    }
    // A guest that sleeps has a deadline too, unless it has just passed and its interrupt is on the way.
    assert!(moved > 0);
    let mut changed = StateWriter::new();
    for (name, version, _) in sections.sections() {
        if name == MSRS {
            changed.put(name, version, &msrs);
        } else {
            changed.put_bytes(name, version, sections.bytes(name, version).unwrap());
        }
    }
    let changed = changed.finish();
    fs::write(dir.join("state"), &changed).unwrap();
    let manifest = dir.join("manifest.json");
    let mut facts = Manifest::parse(&fs::read(&manifest).unwrap()).unwrap();
    facts.host.boot_id = "00000000-0000-4000-8000-000000000000".into();
    facts.state.digest = Digest::of(&changed);
    fs::write(manifest, facts.to_json()).unwrap();
}

#[test]
fn a_snapshot_of_another_host_or_from_before_a_reboot_goes_on_with_its_timers() {
    let home = Home::new();
    let image = home.image("busybox");
    let script = "sleep 2; echo slept; sleep 1000";
    home.run(["run", "-d", "--name", "v1", &image, "sh", "-c", script])
        .ok();
    let ready = "until grep -q sleep /proc/[0-9]*/comm; do usleep 1000; done";
    home.run(["exec", "v1", "sh", "-c", ready]).ok();
    home.run(["snapshot", "create", "v1", "--name", "s1"]).ok();
    of_another_host(&snapshots(&home)[0]);
    home.run(["snapshot", "verify", "s1"]).ok();
    home.run(["run", "-d", "--snapshot", "s1", "--name", "v2"])
        .ok();
    let mut logs = home.cli(["logs", "-f", "v2"]).start();
    assert_eq!(logs.line(), "slept");
    home.run(["exec", "v2", "sleep", "0.1"]).ok();
    remove_all(&home);
}

/// Files of a VM's disk: how many, and bytes of the one it writes to.
fn disk_files(home: &Home, vm: &str) -> (usize, u64) {
    let dir = home.path().join("vms").join(vm);
    let entries = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let count = entries
        .filter(|name| name.to_string_lossy().starts_with("scratch.ext4"))
        .count();
    (
        count,
        fs::metadata(dir.join("scratch.ext4")).unwrap().blocks() * 512,
    )
}

#[test]
fn copies_share_what_was_on_the_disk_and_nobody_waits_for_it_to_be_copied() {
    const WRITTEN: u64 = 16 << 20;
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "v1", &image, "sleep", "1000"])
        .ok();
    let fill = "head -c 16777216 /dev/urandom > /big; sync; sha256sum /big";
    let sum = home.run(["exec", "v1", "sh", "-c", fill]).ok().to_owned();
    let check = |vm: &str| home.run(["exec", vm, "sha256sum", "/big"]).ok().to_owned();
    // Forks of forks, each of which changes a part in the middle for itself.
    let mut vm = "v1".to_owned();
    let mut sums = vec![("v1".to_owned(), sum)];
    for round in 0..3 {
        let child = home.run(["fork", &vm]).ok().trim().to_owned();
        assert_eq!(check(&child), sums.last().unwrap().1);
        let change = format!(
            "echo {round} | dd of=/big bs=1 seek={} conv=notrunc; sync; sha256sum /big",
            9_000_000 + round * 5000
        );
        let changed = home
            .run(["exec", &child, "sh", "-c", &change])
            .ok()
            .to_owned();
        sums.push((child.clone(), changed));
        vm = child;
    }
    home.run(["snapshot", "create", &vm, "--name", "s1"]).ok();
    home.run(["snapshot", "verify", "s1"]).ok();
    home.run(["run", "-d", "--snapshot", "s1", "--name", "v9"])
        .ok();
    sums.push(("v9".to_owned(), sums.last().unwrap().1.clone()));
    for (vm, sum) in &sums {
        assert_eq!(check(vm), *sum, "{vm}");
    }
    if host_copies_by_reference(home.path()) {
        assert_eq!(disk_files(&home, &vm).0, 1);
    } else {
        assert_eq!(disk_files(&home, "v1").0, 2);
        let (files, own) = disk_files(&home, "v9");
        assert!(files >= 5 && own < WRITTEN / 4, "{files} {own}");
    }
    // Who shares with it may go.
    home.run(["rm", "-f", "v1"]).ok();
    home.run(["snapshot", "rm", "s1"]).ok();
    // Not from the page cache of the guest, and in another life of the VM.
    home.run(["exec", "v9", "sync"]).ok();
    home.run(["restart", "-t", "0", "v9"]).ok();
    assert_eq!(check("v9"), sums.last().unwrap().1);
    remove_all(&home);
}

fn host_copies_by_reference(dir: &Path) -> bool {
    let [from, to] = ["from", "to"].map(|name| File::create(dir.join(name)).unwrap());
    let copied = rustix::fs::ioctl_ficlone(&to, &from).is_ok();
    for name in ["from", "to"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    copied
}
