//! `rootfs:DIR`: a directory on the host becomes the same directory in the guest.

mod common;

use common::disk::{self, Home};
use common::manifest::{self, assert_same};
use common::tools::{require_root, run};
use image::layer::{LayerError, Limits};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

fn device(path: &Path, kind: FileType, major: u32, minor: u32) {
    let number = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), number).unwrap();
}

fn touch(path: &Path, date: &str) {
    run(
        "coreutils",
        Command::new("touch").args(["-h", "-d", date]).arg(path),
    );
}

/// One of each.
fn fill(tree: &Path) {
    let at = |name: &str| tree.join(name);
    for directory in ["a/b/c", "empty", "sticky", "mounted"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    std::fs::set_permissions(at("sticky"), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::write(at("a/file"), "hello").unwrap();
    std::fs::hard_link(at("a/file"), at("a/b/same")).unwrap();
    std::fs::write(at("setuid"), vec![7; 10_000]).unwrap();
    std::os::unix::fs::chown(at("setuid"), Some(70_000), Some(4_000_000_000)).unwrap();
    std::fs::set_permissions(at("setuid"), PermissionsExt::from_mode(0o6755)).unwrap();
    symlink("../../../etc/shadow", at("a/escape")).unwrap();
    symlink("b", at("a/directory-link")).unwrap();
    std::fs::write(
        tree.join(std::ffi::OsStr::from_bytes(b"\xff\n not utf-8")),
        "x",
    )
    .unwrap();
    std::fs::write(at(".wh.not-a-whiteout"), "a plain file here").unwrap();
    device(&at("null"), FileType::CharacterDevice, 1, 3);
    device(&at("disk"), FileType::BlockDevice, 259, 70_000);
    device(&at("fifo"), FileType::Fifo, 0, 0);
    drop(UnixListener::bind(at("socket")).unwrap());
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(b"middle", 5_000_000).unwrap();
    sparse.set_len(20_000_000).unwrap();
    for (path, name, value) in [
        ("a/file", "user.note", &b"\0binary\n"[..]),
        ("a", "user.empty", b""),
        (
            "setuid",
            "security.capability",
            &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        ("fifo", "trusted.fifo", b"f"),
        ("a/escape", "trusted.link", b"l"),
    ] {
        rustix::fs::lsetxattr(at(path), name, value, XattrFlags::empty()).unwrap();
    }
    let acl = "u:1234:r,d:u:1234:rwx";
    run(
        "acl",
        Command::new("setfacl").args(["-m", acl]).arg(at("empty")),
    );
    touch(&at("a/file"), "1969-12-31 23:59:58.123456789 UTC");
    touch(&at("a/escape"), "2001-02-03 04:05:06.7 UTC");
    touch(&at("a"), "2100-01-01 UTC");
}

#[test]
fn a_directory_is_the_same_in_the_guest() {
    require_root();
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    fill(&tree);
    let expected = manifest::of(&tree);
    let home = Home::new();
    let layer = home.layers.import_dir(&tree, &Limits::default()).unwrap();
    home.layers.verify(&layer).unwrap();
    assert!(layer.disk_usage().unwrap() < 200_000, "the hole was stored");
    let found = disk::read(&home.roots.compose(std::slice::from_ref(&layer)).unwrap());
    assert_same("rootfs", &found, &expected);

    // The same content is the same layer, and any change is another one.
    let again = home.layers.import_dir(&tree, &Limits::default()).unwrap();
    assert_eq!(again.diff_id, layer.diff_id);
    File::options()
        .write(true)
        .open(tree.join("setuid"))
        .unwrap()
        .write_all_at(&[8], 9_999)
        .unwrap();
    let other = home.layers.import_dir(&tree, &Limits::default()).unwrap();
    assert_ne!(other.diff_id, layer.diff_id);
    assert!(home.leftovers().is_empty());
}

#[test]
fn what_is_mounted_below_and_the_store_itself_stay_out() {
    require_root();
    let home = Home::new();
    // The home is inside of the tree.
    let tree = home.directory.path();
    std::fs::create_dir(tree.join("mounted")).unwrap();
    std::fs::write(tree.join("file"), "x").unwrap();
    run(
        "mount",
        Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(tree.join("mounted")),
    );
    std::fs::write(tree.join("mounted/secret"), "x").unwrap();
    let result = home.layers.import_dir(tree, &Limits::default());
    disk::unmount(&tree.join("mounted"));
    let found = disk::read(&home.roots.compose(&[result.unwrap()]).unwrap());
    let names: Vec<_> = found
        .keys()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(names, ["", "file", "home", "mounted"]);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let home = Home::new();
    let error = home
        .layers
        .import_dir(Path::new("/nonexistent/rootfs"), &Limits::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open directory /nonexistent/rootfs"
    );
    assert!(home.leftovers().is_empty());
}

#[test]
fn limits_hold_for_directories_too() {
    let home = Home::new();
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("large"), [1; 5000]).unwrap();
    let limits = Limits {
        max_file_bytes: 4999,
        ..Limits::default()
    };
    let error = home.layers.import_dir(tree.path(), &limits).unwrap_err();
    let LayerError::Refused { entry, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(&*entry.0, b"large");
    assert!(home.leftovers().is_empty() && home.layers.list().unwrap().is_empty());
}
