//! Whole archives: there and back, as GNU tar reads and writes them, and from somebody hostile.

use crate::*;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

fn member(path: &str, kind: Kind) -> Member {
    Member {
        path: path.into(),
        kind,
        mode: 0o6755,
        uid: 4_000_000_000,
        gid: 0,
        mtime: Time {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        },
        xattrs: Vec::new(),
    }
}

fn archive(members: &[Member]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for member in members {
        writer.entry(member).unwrap();
    }
    writer.finish().unwrap()
}

fn unpacker(to: &Path) -> Unpacker {
    let root = OwnedFd::from(File::open(to).unwrap());
    Unpacker::new(root, Owners::Ours, Devices::Refused)
}

fn pack_all(tree: &Path) -> Vec<u8> {
    let how = Pack {
        name: b".".to_vec(),
        links: Links::Keep,
    };
    pack(tree, &how, Vec::new()).unwrap()
}

/// A directory with two directories in it: `in`, and `out` with a file that nobody may touch.
fn places() -> (tempfile::TempDir, std::path::PathBuf) {
    let places = tempfile::tempdir().unwrap();
    fs::create_dir(places.path().join("in")).unwrap();
    fs::create_dir(places.path().join("out")).unwrap();
    fs::write(places.path().join("out/precious"), b"mine").unwrap();
    let inside = places.path().join("in");
    (places, inside)
}

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::write(root.join("d/f"), vec![7; 5000]).unwrap();
    fs::hard_link(root.join("d/f"), root.join("g")).unwrap();
    symlink("x".repeat(300), root.join("link")).unwrap();
    fs::write(root.join("é".repeat(120)), b"long").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 512 << 20).unwrap();
}

#[test]
fn gnu_tar_reads_what_we_write() {
    let (places, tree) = places();
    make_tree(&tree);
    let archive = pack_all(&tree);
    assert!(archive.len() < 100_000, "holes travel: {}", archive.len());
    let there = places.path().join("there");
    fs::create_dir(&there).unwrap();
    let mut tar = Command::new("tar")
        .arg("-xC")
        .arg(&there)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(tar.wait().unwrap().success());
    // The same tree gives the same archive.
    assert!(pack_all(&there) == archive);
}

#[test]
fn we_read_what_gnu_tar_writes() {
    let (places, tree) = places();
    make_tree(&tree);
    fs::remove_file(tree.join("sparse")).unwrap();
    for format in ["gnu", "posix"] {
        let output = Command::new("tar")
            .args(["-c", "--format", format, "-C"])
            .arg(&tree)
            .arg(".")
            .output()
            .unwrap();
        let there = places.path().join(format);
        fs::create_dir(&there).unwrap();
        unpacker(&there).unpack(&output.stdout[..]).unwrap();
        let names = |tree: &Path| {
            let mut names: Vec<_> = fs::read_dir(tree)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&there), names(&tree), "{format}");
        assert_eq!(fs::read(there.join("g")).unwrap(), vec![7; 5000]);
        assert_eq!(fs::metadata(there.join("g")).unwrap().nlink(), 2);
    }
}

#[test]
fn no_entry_leads_out_of_the_directory() {
    for members in [
        vec![member("../out/precious", Kind::Fifo)],
        vec![member("a/../../out/precious", Kind::Fifo)],
        vec![
            member("l", Kind::Symlink(b"../out".to_vec())),
            member("l/precious", Kind::Fifo),
        ],
        vec![
            member("l", Kind::Symlink(b"../out".to_vec())),
            member("l/", Kind::Directory),
        ],
        vec![member("l", Kind::HardLink(b"../out/precious".to_vec()))],
        vec![
            member("l", Kind::Symlink(b"../out".to_vec())),
            member("h", Kind::HardLink(b"l/precious".to_vec())),
        ],
        vec![
            member("d/", Kind::Directory),
            member("d", Kind::Symlink(b"../out".to_vec())),
        ],
    ] {
        let (places, inside) = places();
        let error = unpacker(&inside)
            .unpack(&archive(&members)[..])
            .unwrap_err();
        let precious = places.path().join("out/precious");
        assert_eq!(fs::read(&precious).unwrap(), b"mine", "{members:?}");
        assert_eq!(
            fs::metadata(&precious).unwrap().nlink(),
            1,
            "{members:?}: {error}"
        );
        assert_eq!(fs::read_dir(places.path().join("out")).unwrap().count(), 1);
    }
}

#[test]
fn absolute_paths_count_from_the_directory() {
    let (_places, inside) = places();
    unpacker(&inside)
        .unpack(&archive(&[member("/a/b", Kind::Fifo)])[..])
        .unwrap();
    assert!(inside.join("a/b").exists());
}

#[test]
fn nothing_is_made_beside_what_was_asked_for() {
    let (_places, inside) = places();
    let unpacker = unpacker(&inside).only(b"wanted".to_vec());
    unpacker
        .unpack(&archive(&[member("wanted/x", Kind::Fifo)])[..])
        .unwrap();
    for members in [
        vec![member(".bashrc", Kind::Fifo)],
        vec![member("wanted2", Kind::Fifo)],
        vec![member("wanted/h", Kind::HardLink(b"other".to_vec()))],
    ] {
        let error = unpacker.unpack(&archive(&members)[..]).unwrap_err();
        assert!(matches!(error, TreeError::NotAskedFor { .. }), "{error}");
    }
}

#[test]
fn devices_are_refused_and_set_user_id_is_left_out() {
    let (_places, inside) = places();
    let error = unpacker(&inside)
        .unpack(&archive(&[member("d", Kind::BlockDevice(8, 0))])[..])
        .unwrap_err();
    assert!(matches!(error, TreeError::Device(_)), "{error}");
    unpacker(&inside)
        .unpack(&archive(&[member("f", Kind::Fifo)])[..])
        .unwrap();
    assert_eq!(
        fs::metadata(inside.join("f")).unwrap().mode() & 0o7777,
        0o755
    );
}

#[test]
fn what_is_there_is_replaced_and_never_written_through() {
    let (places, inside) = places();
    let source = places.path().join("out/precious");
    fs::hard_link(&source, inside.join("hard")).unwrap();
    symlink(&source, inside.join("soft")).unwrap();
    for name in ["hard", "soft"] {
        let how = Pack {
            name: name.into(),
            links: Links::Keep,
        };
        let new = places.path().join("new");
        fs::write(&new, b"new").unwrap();
        unpacker(&inside)
            .unpack(&pack(&new, &how, Vec::new()).unwrap()[..])
            .unwrap();
        assert_eq!(fs::read(inside.join(name)).unwrap(), b"new");
    }
    assert_eq!(fs::read(&source).unwrap(), b"mine");
}

#[test]
fn a_damaged_archive_is_refused_wherever_it_is_cut_or_flipped() {
    let (places, tree) = places();
    make_tree(&tree);
    let archive = pack_all(&tree);
    let there = places.path().join("there");
    let attempt = |bytes: &[u8]| {
        fs::create_dir(&there).unwrap();
        let result = unpacker(&there).limit(1 << 20).unpack(bytes);
        fs::remove_dir_all(&there).unwrap();
        result
    };
    for end in (0..archive.len() - 1024).step_by(509) {
        assert!(attempt(&archive[..end]).is_err(), "{end}");
    }
    // A flipped bit may make other contents of it, never a panic or a hang.
    for at in (0..archive.len()).step_by(307) {
        let mut flipped = archive.clone();
        flipped[at] ^= 1 << (at % 8);
        let _ = attempt(&flipped);
    }
}

#[test]
fn a_header_that_asks_for_memory_and_a_tree_over_the_limit_are_refused() {
    let (_places, inside) = places();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let error = unpacker(&inside)
        .unpack(&header.as_bytes()[..])
        .unwrap_err();
    assert!(matches!(error, TreeError::HeaderTooLong(_)), "{error}");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_path("f").unwrap();
    header.set_cksum();
    let error = unpacker(&inside)
        .limit(100)
        .unpack(&header.as_bytes()[..])
        .unwrap_err();
    assert!(matches!(error, TreeError::TooBig(100)), "{error}");
}
