//! Files of a running VM: point 17 of what a guest promises.

use crate::idle_vm;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use supermachine::{CopyOptions, Error, FileKind, Vm, WriteOptions};
use testkit::Home;

fn sh(vm: &Vm, script: &str) -> String {
    let output = vm.exec(["sh", "-c", script]).unwrap();
    assert!(
        output.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn kind_of(result: Result<impl std::fmt::Debug, Error>) -> io::ErrorKind {
    match result {
        Err(Error::Files(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn guest_17_files_are_read_written_listed_renamed_and_removed() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let files = vm.files();

    files.make_dir_all("/a/b", 0o750).unwrap();
    files.make_dir_all("/a/b", 0o700).unwrap();
    assert_eq!(
        kind_of(files.make_dir("/a/b", 0o700)),
        io::ErrorKind::AlreadyExists
    );
    let all: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    files.write("/a/b/f", &all).unwrap();
    assert!(files.read("/a/b/f").unwrap() == all);
    let options = WriteOptions {
        mode: Some(0o4750),
        owner: Some((12, 34)),
    };
    files.write_from("/a/b/g", &b"x"[..], options).unwrap();
    // New contents, the old mode and owner.
    files.write("/a/b/g", b"xyz").unwrap();
    let stat = files.stat("/a/b/g").unwrap();
    assert_eq!(
        (stat.kind, stat.mode, stat.uid, stat.gid, stat.size),
        (FileKind::File, 0o4750, 12, 34, 3)
    );

    sh(&vm, "ln -s /a/b/g /a/link; mkfifo /a/fifo; echo 1 > /a/old");
    assert_eq!(
        files.symlink_stat("/a/link").unwrap().target.unwrap(),
        "/a/b/g"
    );
    files.write("/a/link", b"through").unwrap();
    assert_eq!(
        (files.read("/a/b/g").unwrap(), sh(&vm, "readlink /a/link")),
        (b"through".to_vec(), "/a/b/g\n".into())
    );
    let mut names: Vec<_> = files
        .list("/a")
        .unwrap()
        .into_iter()
        .map(|entry| (entry.name, entry.stat.kind))
        .collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        names,
        [
            ("b".into(), FileKind::Directory),
            ("fifo".into(), FileKind::Other),
            ("link".into(), FileKind::Symlink),
            ("old".into(), FileKind::File),
        ]
    );
    files.rename("/a/old", "/a/new").unwrap();
    assert_eq!(kind_of(files.read("/a/old")), io::ErrorKind::NotFound);
    assert_eq!(kind_of(files.read("/a")), io::ErrorKind::IsADirectory);
    assert!(files.read("/a/fifo").is_err());
    assert_eq!(
        kind_of(files.remove("/a/b")),
        io::ErrorKind::DirectoryNotEmpty
    );
    files.remove("/a/link").unwrap();
    files.remove_all("/a/b").unwrap();
    files.remove("/a/new").unwrap();
    assert_eq!(sh(&vm, "ls /a"), "fifo\n");
    // No worker stays, and what reads a procedure of the kernel sees its contents.
    assert!(files.read("/proc/uptime").unwrap().len() > 3);
    assert_eq!(sh(&vm, "ps | grep -c [f]iles || true"), "0\n");
}

/// Gives some bytes and then fails.
struct Breaks(usize);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.min(buffer.len());
        if count == 0 {
            return Err(io::Error::other("the disk fell out"));
        }
        buffer[..count].fill(b'x');
        self.0 -= count;
        Ok(count)
    }
}

#[test]
fn guest_17_a_write_that_breaks_off_changes_nothing_and_leaves_nothing() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let files = vm.files();
    files.make_dir("/d", 0o755).unwrap();
    files.write("/d/f", b"old").unwrap();
    for len in [0, 10, 3 << 20] {
        let error = files
            .write_from("/d/f", Breaks(len), WriteOptions::default())
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot read what is to be copied");
    }
    // The worker ends by itself; its death is told by the list of processes.
    sh(&vm, "while ps | grep -q '[f]iles'; do :; done");
    assert_eq!(
        (sh(&vm, "ls -A /d"), files.read("/d/f").unwrap()),
        ("f\n".into(), b"old".to_vec())
    );
    // A directory that fills up is an error, and leaves nothing either.
    sh(
        &vm,
        "mkdir /small && mount -t tmpfs -o size=64k tmpfs /small",
    );
    assert_eq!(
        kind_of(files.write("/small/f", vec![0; 1 << 20])),
        io::ErrorKind::StorageFull
    );
    assert_eq!(sh(&vm, "ls -A /small"), "");
}

/// A tree with everything a tree can have that any file system keeps.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("dir/empty")).unwrap();
    fs::write(root.join("dir/file"), b"contents").unwrap();
    fs::hard_link(root.join("dir/file"), root.join("second")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    fs::write(root.join("n".repeat(255)), b"long").unwrap();
    fs::set_permissions(root.join("dir"), Permissions::from_mode(0o1750)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 10 << 20).unwrap();
    rustix::fs::setxattr(
        root.join("second"),
        "user.note",
        b"\0\xff",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
}

#[test]
fn guest_17_a_tree_comes_back_from_a_vm_as_it_went_in() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let (source, back) = (home.scratch().join("source"), home.scratch().join("back"));
    make_tree(&source);
    let options = CopyOptions {
        keep_owners: true,
        follow_link: false,
    };
    vm.files().copy_in(&source, "/tree", options).unwrap();
    assert_eq!(
        sh(&vm, "cat /tree/sparse | tail -c +10485761 | head -c 13"),
        "in the middle"
    );
    assert_eq!(
        sh(&vm, "stat -c '%a %h' /tree/dir /tree/second"),
        "1750 3\n644 2\n"
    );
    vm.files().copy_out("/tree", &back, options).unwrap();
    // GNU tar judges: what it makes of both is the same to the byte.
    let packed = |tree: &Path| {
        let words = ["--create", "--sort=name", "--xattrs", "--format=posix"];
        let names = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime";
        let mut tar = Command::new("tar");
        let output = tar
            .args(words)
            .arg(names)
            .arg("-C")
            .arg(tree)
            .arg(".")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    assert!(
        packed(&source) == packed(&back),
        "see {} and {}",
        source.display(),
        back.display()
    );
    assert!(back.join("sparse").metadata().unwrap().blocks() < 1000);
    // Twenty GiB of nothing travel as such.
    File::create(source.join("huge"))
        .unwrap()
        .set_len(20 << 30)
        .unwrap();
    vm.files()
        .copy_in(source.join("huge"), "/huge", options)
        .unwrap();
    vm.files().copy_out("/huge", &back, options).unwrap();
    let huge = back.join("huge").metadata().unwrap();
    assert!(huge.len() == 20 << 30 && huge.blocks() < 1000);
}

#[test]
fn guest_17_a_hostile_vm_writes_nothing_here_but_what_was_asked_for() {
    let home = Home::new();
    let vm = idle_vm(&home);
    let here = home.scratch().join("here");
    fs::create_dir(&here).unwrap();
    fs::write(home.scratch().join("precious"), b"mine").unwrap();
    // What the guest can have without lying: links that lead out, devices, set-user-id.
    sh(
        &vm,
        "mkdir -p /t/d && ln -s ../../precious /t/d/out && echo x > /t/s && chmod 6755 /t/s && chown 99:99 /t/s",
    );
    vm.files()
        .copy_out("/t", &here, CopyOptions::default())
        .unwrap();
    let made = fs::metadata(here.join("t/s")).unwrap();
    assert_eq!(
        (made.mode() & 0o7777, made.uid()),
        (0o755, rustix::process::getuid().as_raw())
    );
    // Unpacked again, over the link that leads out: the link is replaced, never followed.
    sh(&vm, "rm /t/d/out && echo overwritten > /t/d/out");
    vm.files()
        .copy_out("/t", &here, CopyOptions::default())
        .unwrap();
    assert_eq!(fs::read(home.scratch().join("precious")).unwrap(), b"mine");
    assert_eq!(fs::read(here.join("t/d/out")).unwrap(), b"overwritten\n");
    // A directory of ours that has become a link is not gone through either.
    fs::remove_dir_all(here.join("t/d")).unwrap();
    symlink(home.scratch(), here.join("t/d")).unwrap();
    let error = vm
        .files()
        .copy_out("/t", &here, CopyOptions::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot overwrite non-directory"),
        "{error}"
    );
    let error = vm
        .files()
        .copy_out("/dev/null", here.join("null"), CopyOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("device node"), "{error}");
    assert!(!here.join("null").exists());
}
