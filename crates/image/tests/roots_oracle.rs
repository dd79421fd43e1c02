//! What we write, judged by those it is written for: `fsck.erofs`, the kernel, and `umoci unpack` of the same layers.

mod common;

use common::archive::{Archive, Member};
use common::disk::{self, Home};
use common::manifest::assert_same;
use common::{layout, manifest};
use std::process::Command;

/// `struct posix_acl_xattr_entry` of (tag, permissions, id).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

const NO_ID: u32 = u32::MAX;

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Everything a file system can hold, at its edges.
fn bottom_layer() -> Vec<u8> {
    let access = acl(&[
        (1, 6, NO_ID),
        (2, 4, 1234),
        (4, 4, NO_ID),
        (16, 4, NO_ID),
        (32, 4, NO_ID),
    ]);
    let default = acl(&[(1, 7, NO_ID), (4, 5, NO_ID), (32, 5, NO_ID)]);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut members = vec![
        Member::directory("./").mode(0o755).mtime(1_500_000_000),
        Member::directory("etc/"),
        Member::file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
        Member::directory("tmp").mode(0o1777),
        Member::directory("bin"),
        Member::file("bin/su", noise(5000, 1)).mode(0o4755),
        Member::file("bin/wall", noise(70_000, 2))
            .mode(0o2755)
            .owner(0, 5),
        Member::file("bin/ping", noise(100, 3))
            .mode(0o755)
            .xattr("security.capability", capability),
        Member::symlink("bin/sh", "su"),
        Member::symlink("escape", "../../../../etc/passwd"),
        Member::symlink("absolute", "/etc/passwd"),
        Member::symlink("long", vec![b'x'; 4000]),
        Member::symlink("longest", &b"y/".repeat(2048)[..4095]),
        Member::directory("dev"),
        Member::device(b'3', "dev/null", 1, 3).mode(0o666),
        Member::device(b'3', "dev/high", 300, 70_000),
        Member::device(b'4', "dev/sda", 8, 0)
            .mode(0o660)
            .owner(0, 6),
        Member::new(b'6', "dev/fifo").mode(0o600),
        Member::directory("links"),
        Member::file("links/a", "one file, many names"),
        Member::hardlink("links/b", "links/a"),
        Member::hardlink("links/c", "./links/b"),
        Member::symlink("links/soft", "nowhere"),
        Member::hardlink("links/soft2", "links/soft"),
        Member::directory("xattrs")
            .xattr("system.posix_acl_default", &default)
            .xattr("user.dir", "d"),
        Member::file("xattrs/many", "x")
            .xattr("user.a", "1")
            .xattr("user.binary", b"\0\n=\xff")
            .xattr("trusted.t", "t"),
        Member::file("xattrs/big", "x").xattr("user.big", noise(3000, 4)),
        Member::file("xattrs/acl", "x")
            .mode(0o640 | 0o4)
            .xattr("system.posix_acl_access", &access),
        Member::symlink("xattrs/link", "many").xattr("trusted.link", "l"),
        Member::directory("times"),
        Member::file("times/ns", "").record("mtime", "1234567890.123456789"),
        Member::file("times/negative", "").record("mtime", "-1.25"),
        Member::file("times/before", "").mtime(-86400),
        Member::file("times/epoch", "").mtime(0),
        Member::file("times/2100", "").mtime(4_102_444_800),
        Member::file("times/late", "").record("mtime", "8589934592.5"),
        Member::file("owner", "").owner(70_000, 4_000_000_000),
        Member::directory("names"),
        Member::file(b"names/\xff\xfe not utf-8", "x"),
        Member::file("names/new\nline", "x"),
        Member::file("names/!bang", "x"),
        Member::file("names/-dash", "x"),
        Member::file("names/ space", "x"),
        Member::file("names/..a", "x"),
        Member::file("names/…", "x"),
        Member::directory("sizes"),
        Member::directory("hidden"),
        Member::file("hidden/below", "1"),
        Member::directory("hidden/deeper"),
        Member::file("hidden/deeper/file", "1"),
        Member::directory("merged").mode(0o700).owner(7, 7),
        Member::file("merged/below", "1"),
        Member::file("file-to-dir", "1"),
        Member::directory("dir-to-file"),
        Member::file("dir-to-file/child", "1"),
        Member::file("removed", "1"),
        Member::directory("removed-dir"),
        Member::file("removed-dir/child", "1"),
        Member::directory("many"),
    ];
    for size in [0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 5_000_000] {
        members.push(Member::file(
            format!("sizes/{size}"),
            noise(size, size as u32),
        ));
    }
    members.push(Member::file("sizes/zeros", vec![0; 100_000]));
    members.extend(
        (0..1000).map(|number| Member::file(format!("many/file-{number:04}"), format!("{number}"))),
    );
    members.extend(
        (0..41).map(|number| Member::file(format!("names/{}{number:02}", "n".repeat(253)), "x")),
    );
    let deep = (1..300).map(|depth| Member::directory(["d"; 300][..depth].join("/")));
    members.extend(deep);
    Archive::of(members)
}

fn middle_layer() -> Vec<u8> {
    Archive::of([
        Member::file(".wh.removed", ""),
        Member::file("links/.wh.a", ""),
        Member::file("xattrs/.wh.big", ""),
        Member::directory("merged")
            .mode(0o711)
            .owner(8, 9)
            .mtime(1_700_000_000),
        Member::file("merged/above", "2"),
        Member::directory("hidden").mode(0o750),
        // The marker comes after one it must not hide. (After the next umoci would change a time.)
        Member::file("hidden/above", "2"),
        Member::file("hidden/.wh..wh..opq", ""),
        Member::directory("hidden/deeper"),
        Member::file("hidden/deeper/new", "2"),
        Member::directory("file-to-dir"),
        Member::file("file-to-dir/child", "2"),
        Member::file("dir-to-file", "2"),
        Member::file("sizes/4096", "changed"),
        Member::directory("new"),
        Member::file("new/original", noise(9000, 9)),
        Member::hardlink("new/link", "new/original"),
        Member::hardlink("new/link-below", "links/b"),
    ])
}

fn top_layer() -> Vec<u8> {
    Archive::of([
        Member::file(".wh.removed-dir", ""),
        Member::file(".wh.never-was", ""),
        Member::file("new/.wh.original", ""),
        Member::file("removed", "back again").mode(0o600),
        // A whiteout and a new directory of the same name.
        Member::file(".wh.many", ""),
        Member::directory("many"),
        Member::file("many/only", "3"),
        Member::symlink("file-to-dir", "dir-to-file"),
        Member::file("hidden/deeper/.wh.new", ""),
    ])
}

#[test]
fn an_awkward_image_is_to_the_kernel_what_umoci_unpacks() {
    let layers = [bottom_layer(), middle_layer(), top_layer()];
    let home = Home::new();
    for count in 1..=layers.len() {
        let found = disk::read(&home.compose(&layers[..count]));
        let expected = layout::unpack(&layers[..count]);
        assert!(
            expected.len() > 400,
            "umoci unpacked {} entries",
            expected.len()
        );
        assert_same(&format!("{count} layers"), &found, &expected);
    }
    assert!(home.leftovers().is_empty());
}

#[test]
fn what_umoci_cannot_keep_survives_too() {
    let home = Home::new();
    let found = disk::read(
        &home.compose(&[Archive::of([
            // Go's reader takes an empty record for none.
            Member::file("empty-xattr", "x").xattr("user.empty", ""),
            Member::file("near-limit", "x")
                .xattr("user.large", noise(65_535, 1))
                .xattr("user.more", noise(65_535, 2)),
            Member::symlink("link", vec![b'x'; 4095]).xattr("trusted.big", noise(4000, 3)),
            Member::directory("dir").xattr("user.big", noise(4090, 4)),
            Member::file("dir/child", "x"),
            Member::directory("full-inode")
                .xattr("user.edge", noise(4096 - 64 - 12 - 4 - 4 - 27, 5)),
            Member::directory("over-inode")
                .xattr("user.edge", noise(4096 - 64 - 12 - 4 - 4 - 26, 5)),
            Member::file("implied/parents/file", "x"),
        ])]),
    );
    assert_eq!(found[&b"empty-xattr"[..]].xattrs[&b"user.empty"[..]], b"");
    assert_eq!(
        found[&b"near-limit"[..]].xattrs[&b"user.more"[..]],
        noise(65_535, 2)
    );
    assert_eq!(
        found[&b"link"[..]].xattrs[&b"trusted.big"[..]],
        noise(4000, 3)
    );
    assert_eq!(
        found[&b"link"[..]].target.as_deref(),
        Some(&[b'x'; 4095][..])
    );
    assert_eq!(found[&b"dir"[..]].xattrs[&b"user.big"[..]].len(), 4090);
    assert!(found.contains_key(&b"dir/child"[..]));
    for edge in [&b"full-inode"[..], b"over-inode"] {
        assert_eq!(found[edge].kind, 'd');
    }
    for (implied, links) in [(&b""[..], 6), (b"implied", 3), (b"implied/parents", 2)] {
        let entry = &found[implied];
        assert_eq!(
            (entry.kind, entry.mode, entry.uid, entry.mtime, entry.links),
            ('d', 0o755, 0, (0, 0), links)
        );
    }
}

#[test]
fn a_hundred_thousand_names_in_one_directory_are_found() {
    let names =
        (0..100_000u64).map(|number| format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let members = names
        .clone()
        .map(|name| Member::file(format!("d/{name}"), ""));
    let found = disk::read(&Home::new().compose(&[Archive::of(members)]));
    assert_eq!(found.len(), 100_002);
    for name in names {
        assert!(found.contains_key(format!("d/{name}").as_bytes()));
    }
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    let layers = [bottom_layer(), middle_layer(), top_layer()];
    let (one, other) = (Home::new(), Home::new());
    let (one, other) = (one.compose(&layers), other.compose(&layers));
    assert_eq!((one.key, one.digest), (other.key, other.digest));
    let read = |root: &image::root::RootImage| -> Vec<Vec<u8>> {
        root.pieces
            .iter()
            .map(|piece| std::fs::read(&piece.path).unwrap_or_default())
            .collect()
    };
    assert_eq!(read(&one), read(&other));
    // On every machine, in every release: raise the version in `root.rs` when this has to change.
    assert_eq!(
        one.key.hex(),
        "97ec08981b4aa05c3c2f7c2954d43686cb4beb098a5b83e275a7da76020248aa"
    );
    assert_eq!(
        one.digest.hex(),
        "cc69998088cf7360295b51bae1a4daa6ca1c7c777ed368e30de27f797badc941"
    );
}

/// GNU tar as the writer: its own spellings of long names, big numbers and sparse files.
#[test]
fn what_gnu_tar_packs_is_what_the_kernel_shows() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    let home = Home::new();
    let mounted = disk::mount(&home.compose(&[bottom_layer(), middle_layer()]));
    common::tools::run(
        "coreutils",
        Command::new("cp")
            .args(["-a", "--"])
            .args([mounted.path(), &tree]),
    );
    sparse_files(&tree.join("sizes"));
    let expected = manifest::of(&tree);
    let posix = [
        "--format=posix",
        "--xattrs",
        "--xattrs-include=*",
        "--pax-option=delete=atime,delete=ctime",
    ];
    for version in [
        "--sparse-version=0.0",
        "--sparse-version=0.1",
        "--sparse-version=1.0",
    ] {
        let tar = pack(&tree, &[&posix[..], &["--sparse", version]].concat());
        assert_same(
            version,
            &disk::read(&Home::new().compose(&[tar])),
            &expected,
        );
    }
    // The GNU format knows neither extended attributes nor fractions of seconds.
    let tar = pack(&tree, &["--format=gnu", "--sparse"]);
    let mut plain = expected;
    for entry in plain.values_mut() {
        entry.mtime.1 = 0;
        entry.xattrs.clear();
    }
    assert_same("gnu", &disk::read(&Home::new().compose(&[tar])), &plain);
}

/// Longer than 32 bits count, and not a block on disk for it.
#[test]
fn holes_take_no_space_and_read_as_zeros() {
    use std::os::unix::fs::FileExt;
    const LEN: u64 = 6 << 30;
    let map = format!("1\n{}\n3\n", LEN - 3);
    let data = [map.as_bytes(), &[0; 512][map.len()..], b"end"].concat();
    let tar = Archive::of([Member::file("GNUSparseFile.0/huge", data)
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", "huge")
        .record("GNU.sparse.realsize", LEN.to_string())]);
    let home = Home::new();
    let layer = home.import(&tar).unwrap();
    assert_eq!(layer.data_len(), LEN);
    assert!(
        layer.disk_usage().unwrap() <= 64 << 10,
        "{} bytes on disk",
        layer.disk_usage().unwrap()
    );
    home.layers.verify(&layer).unwrap();
    let mounted = disk::mount(&home.roots.compose(&[layer]).unwrap());
    let file = std::fs::File::open(mounted.path().join("huge")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), LEN);
    let mut end = [0xff; 8];
    file.read_exact_at(&mut end, LEN - 8).unwrap();
    assert_eq!(&end, b"\0\0\0\0\0end");
}

fn sparse_files(directory: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    let sparse = |name: &str, len: u64, data: &[(u64, &[u8])]| {
        let file = std::fs::File::create(directory.join(name)).unwrap();
        data.iter()
            .for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        file.set_len(len).unwrap();
    };
    sparse("hole", 50_000_000, &[]);
    sparse("ends", 20_000_000, &[(0, b"begin"), (19_999_997, b"end")]);
    let many: Vec<(u64, &[u8])> = (0..300)
        .map(|number| (number * 20_480 + 4096, &b"island"[..]))
        .collect();
    sparse("islands", 300 * 20_480 + 77, &many);
}

fn pack(tree: &std::path::Path, options: &[&str]) -> Vec<u8> {
    common::tools::run(
        "tar",
        Command::new("tar")
            .arg("-C")
            .arg(tree)
            .args(options)
            .args(["-cf", "-", "."]),
    )
    .stdout
}
